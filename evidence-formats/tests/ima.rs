//! IMA lists of every template, as the kernel prints them and as it writes them.
#![expect(clippy::unwrap_used, reason = "tests")]

use evidence_formats::{
    code::Coded,
    digest::{Digest, HashAlgorithm},
    eventlog::ima::ImaLog,
};

/// One measurement as the kernel keeps it (Linux `ima_template.c`).
struct Entry {
    template: &'static str,
    /// `sha256:` or, in the second versions, `ima:sha256:`.
    kind: &'static str,
    path: &'static str,
    /// Signature or buffer; absent in templates without one.
    last: Option<&'static [u8]>,
    violation: bool,
}

const DIGEST: [u8; 32] = [0x5e; 32];

const ENTRIES: [Entry; 8] = [
    Entry { template: "ima-ng", kind: "sha256:", path: "boot_aggregate", last: None, violation: false },
    Entry { template: "ima-ngv2", kind: "ima:sha256:", path: "/usr/bin/init", last: None, violation: false },
    Entry { template: "ima-sig", kind: "sha256:", path: "/usr/bin/signed", last: Some(&[3, 2, 4]), violation: false },
    Entry { template: "ima-sig", kind: "sha256:", path: "/usr/bin/unsigned", last: Some(&[]), violation: false },
    Entry { template: "ima-sigv2", kind: "verity:sha256:", path: "/usr/bin/v2", last: Some(&[1]), violation: false },
    Entry { template: "ima-buf", kind: "sha256:", path: ".builtin_trusted_keys", last: Some(b"key"), violation: false },
    Entry { template: "ima-ng", kind: "sha256:", path: "/var/log/open", last: None, violation: true },
    Entry { template: "ima-ng", kind: "sha256:", path: "/a_path_(deleted)", last: None, violation: false },
];

impl Entry {
    fn data(&self) -> Vec<u8> {
        let field = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat();
        let mut data = field(&[self.kind.as_bytes(), b"\0", &DIGEST].concat());
        data.extend(field(&[self.path.as_bytes(), b"\0"].concat()));
        data.extend(self.last.map(field).unwrap_or_default());
        data
    }

    /// The recorded SHA-1: zero for a violation.
    fn recorded(&self) -> Vec<u8> {
        if self.violation { vec![0; 20] } else { HashAlgorithm::Sha1.digest(&[&self.data()]).as_bytes().to_vec() }
    }

    fn line(&self) -> String {
        let (sha1, digest) = (hex::encode(self.recorded()), hex::encode(DIGEST));
        let last = self.last.map(|last| format!(" {}", hex::encode(last))).unwrap_or_default();
        format!("10 {sha1} {} {}{digest} {}{last}\n", self.template, self.kind, self.path)
    }

    fn binary(&self) -> Vec<u8> {
        let sized = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat();
        [10_u32.to_le_bytes().to_vec(), self.recorded(), sized(self.template.as_bytes()), sized(&self.data())].concat()
    }

    fn extended(&self, bank: HashAlgorithm) -> Digest {
        if self.violation { Digest::filled(bank, 0xff) } else { bank.digest(&[&self.data()]) }
    }
}

fn code(bytes: &[u8]) -> String {
    ImaLog::parse(bytes).map_or_else(|error| error.code().to_string(), |_| "parsed".to_owned())
}

#[test]
fn both_forms_of_a_list_say_the_same_of_every_template() {
    let text: String = ENTRIES.iter().map(Entry::line).collect();
    let binary: Vec<u8> = ENTRIES.iter().flat_map(Entry::binary).collect();
    // A copy of the list may have lost the space after a file without signature, and have other line ends.
    let trimmed: String = text.lines().map(|line| format!("{}\r\n", line.trim_end())).collect();
    for list in [text.into_bytes(), binary, trimmed.into_bytes()] {
        let log = ImaLog::parse(&list).unwrap();
        assert_eq!(log.entries().len(), ENTRIES.len());
        for (parsed, entry) in log.entries().iter().zip(&ENTRIES) {
            assert_eq!((parsed.pcr, parsed.template.as_str(), parsed.violation), (10, entry.template, entry.violation));
            assert_eq!(parsed.path.as_deref(), Some(entry.path));
            assert_eq!(parsed.file_digest, Some(format!("{}{}", entry.kind, hex::encode(DIGEST))));
            for bank in [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384] {
                assert_eq!(parsed.extended_digest(bank), entry.extended(bank), "{}", entry.path);
            }
        }
        // Every prefix leads to its own value, and only the list's own entries lead anywhere.
        let mut register = Digest::zero(HashAlgorithm::Sha256);
        for (number, entry) in ENTRIES.iter().enumerate() {
            assert_eq!(log.entries_up_to(10, &register), Some(number));
            register = register.extended(entry.extended(HashAlgorithm::Sha256).as_bytes());
        }
        assert_eq!(log.entries_up_to(10, &register), Some(ENTRIES.len()));
        assert_eq!(log.entries_up_to(11, &register), None);
        assert_eq!(log.entries_up_to(10, &Digest::filled(HashAlgorithm::Sha256, 7)), None);
    }
}

#[test]
fn an_edited_or_malformed_list_is_refused_by_name() {
    for entry in &ENTRIES {
        if entry.violation {
            continue;
        }
        let (line, binary) = (entry.line(), entry.binary());
        let edited = line.replace(entry.path, "/usr/bin/other");
        assert_eq!(code(edited.as_bytes()), "parse.ima.template_hash", "{line}");
        let other = line.replacen("5e", "5f", 1).replace("5e5e", "5e5f");
        assert_eq!(code(other.as_bytes()), "parse.ima.template_hash", "{line}");
        let mut flipped = binary.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert_ne!(code(&flipped), "parsed", "{line}");
        for length in 1..binary.len() {
            assert_ne!(code(binary.get(..length).unwrap()), "parsed", "{length} bytes of {line}");
        }
    }
    let [first, ..] = &ENTRIES;
    let line = first.line();
    for (from, to) in [
        ("10 ", "24 "),
        ("10 ", "-1 "),
        ("10 ", "1x "),
        ("ima-ng", "ima"),
        ("ima-ng", "ima-unknown"),
        ("sha256:", "sha256"),
        (" boot_aggregate", ""),
        ("5e5e", "5e5"),
    ] {
        assert_eq!(code(line.replacen(from, to, 1).as_bytes()), "parse.ima.entry", "{from} {to}");
    }
    assert_eq!(code(&[line.as_bytes(), b"10 \xff\n"].concat()), "parse.ima.entry");
    // The first template has SHA-1 of files only.
    let mut old = first.binary();
    old.splice(24..34, [3, 0, 0, 0, b'i', b'm', b'a']);
    assert_eq!(code(&old), "parse.ima.template");
    assert_eq!(code(&vec![b'1'; (2 << 20) + 1]), "parse.ima.too_large");
}

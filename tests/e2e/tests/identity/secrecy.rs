//! Private keys of guests are nowhere in the broker: not in its memory, not in its store.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use base64::{Engine, prelude::*};
use e2e::broker::Broker;
use keys::{
    jwk::TeeKeyType,
    random::{NoRandomness, Random, SystemRandom},
    tee_key::TeeKeyPair,
};
use serde_json::json;

use crate::{
    guest::Guest,
    spiffe::Svid,
    tokens::{self, broker},
};

/// Bytes that are read at once; what is searched for is much shorter.
const STEP: usize = 1 << 20;
/// Longest needle, in bytes: parts overlap by so much.
const LONGEST: usize = 256;

/// The forms in which `secret` could lie in memory or in a file.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let reversed: Vec<u8> = secret.iter().rev().copied().collect();
    vec![
        secret.to_vec(),
        reversed,
        hex::encode(secret).into_bytes(),
        hex::encode_upper(secret).into_bytes(),
        BASE64_URL_SAFE_NO_PAD.encode(secret).into_bytes(),
        BASE64_STANDARD_NO_PAD.encode(secret).into_bytes(),
    ]
}

/// Needles, found by their first two bytes.
struct Needles {
    needles: Vec<Vec<u8>>,
    begins: Vec<bool>,
}

impl Needles {
    fn new(needles: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let needles: Vec<_> = needles.into_iter().collect();
        let mut begins = vec![false; 1 << 16];
        for needle in &needles {
            assert!((16..=LONGEST).contains(&needle.len()), "long enough to be nothing else");
            begins[usize::from(u16::from_be_bytes([needle[0], needle[1]]))] = true;
        }
        Self { needles, begins }
    }

    /// Whether `part` holds one of them.
    fn are_in(&self, part: &[u8]) -> bool {
        let mut two = 0;
        part.iter().enumerate().any(|(at, byte)| {
            two = ((two & 0xff) << 8) | usize::from(*byte);
            let from = at.saturating_sub(1);
            self.begins[two] && self.needles.iter().any(|needle| part[from..].starts_with(needle))
        })
    }
}

/// Whether a process's memory holds one of the needles; `None` when it cannot be read by this user.
fn memory_holds(process: u32, needles: &Needles) -> Option<bool> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let mut memory = File::open(format!("/proc/{process}/mem")).ok()?;
    let (mut searched, mut buffer) = (0_usize, vec![0; STEP + LONGEST]);
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with('r'))) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut at = from;
        while at < to {
            let length = usize::try_from(to - at).unwrap_or(usize::MAX).min(buffer.len());
            // The kernel's own pages (vvar, vsyscall) are not readable this way and hold nothing of ours.
            let Ok(_) = memory.seek(SeekFrom::Start(at)) else { break };
            let Ok(read) = memory.read(&mut buffer[..length]) else { break };
            searched += read;
            if needles.are_in(&buffer[..read]) {
                return Some(true);
            }
            at += u64::try_from(STEP).unwrap();
        }
    }
    (searched > STEP).then_some(false)
}

fn files_hold(directory: &Path, needles: &Needles) -> bool {
    let mut files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    assert!(!files.is_empty());
    files.retain(|path| path.is_file());
    files.iter().any(|path| needles.are_in(&fs::read(path).unwrap()))
}

/// Randomness that remembers what it handed out: the scalar of a key that is made with it.
struct Remembering(SystemRandom, Vec<Vec<u8>>);

impl Random for Remembering {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        self.0.fill(bytes)?;
        self.1.push(bytes.to_vec());
        Ok(())
    }
}

/// The private scalar inside of a PKCS#8 document of P-256 (RFC 5915: an OCTET STRING of 32 bytes after the version).
fn scalar(pkcs8: &[u8]) -> Vec<u8> {
    let head = [0x02, 0x01, 0x01, 0x04, 0x20];
    let at = pkcs8.windows(head.len()).position(|window| window == head).unwrap() + head.len();
    pkcs8[at..at + 32].to_vec()
}

#[test]
fn no_private_key_of_a_guest_is_in_the_brokers_memory_or_store() {
    let mut broker: Broker = broker();
    broker.put_secret("disk-key", b"correct horse").unwrap();
    let mut random = Remembering(SystemRandom::new(), Vec::new());
    let tee_key = TeeKeyPair::generate(TeeKeyType::P256, &mut random).unwrap();
    let tee_scalars: Vec<Vec<u8>> = std::mem::take(&mut random.1);
    assert!(tee_scalars.iter().all(|scalar| scalar.len() == 32), "the key is its random bytes");
    let thumbprint = tee_key.public().thumbprint();
    let mut guest = Guest::new(broker.client().unwrap());
    guest.key = tee_key;
    let svid = Svid::fetch(&mut guest, "web");
    let token = tokens::token(&mut guest, "aws");
    let svid_scalar = scalar(svid.key.serialized_der());

    let secrets = Needles::new(tee_scalars.iter().chain([&svid_scalar]).flat_map(|secret| forms(secret)));
    // The search finds a key where it is: in this process, which plays the guest.
    let Some(found) = memory_holds(std::process::id(), &Needles::new(forms(&svid_scalar))) else {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("the memory of a process cannot be read here (root is needed): skipped");
        }
        return;
    };
    assert!(found, "the key is in the guest");
    // And it finds in the broker what should be there: the key of its CA, which every SVID is verified with, and the
    // thumbprint of the guest's public key.
    let ca = pem::parse(svid.value["bundle"].as_str().unwrap()).unwrap().into_contents();
    assert_eq!(memory_holds(broker.process_id(), &Needles::new([ca[ca.len() - 64..].to_vec()])), Some(true));
    assert!(files_hold(&broker.store(), &Needles::new([thumbprint.into_bytes()])));

    assert_eq!(memory_holds(broker.process_id(), &secrets), Some(false), "a guest's private key is in the broker");
    assert!(!files_hold(&broker.store(), &secrets), "a guest's private key is in the store");
    // What was issued as a bearer token is sealed for the guest and not kept either.
    assert!(!files_hold(&broker.store(), &Needles::new([token.as_bytes()[token.len() - 200..].to_vec()])));
    // All of it again when the broker has written everything.
    let renewed = guest.renew(&guest.id, json!([]), |_| {});
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    assert_eq!(memory_holds(broker.process_id(), &secrets), Some(false));
    broker.stop().unwrap();
    assert!(!files_hold(&broker.store(), &secrets));
}

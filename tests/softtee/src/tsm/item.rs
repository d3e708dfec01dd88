//! One report directory: a state machine without files.
use fuser::Errno;

use super::{Attribute, Blobs, Guest, Provider, ReportRequest};

/// Least privileged level that may be written (`TSM_PRIVLEVEL_MAX`).
const PRIVILEGE_LEVEL_MAX: u32 = 3;

/// What `drivers/virt/coco/tsm.c` keeps for one directory.
///
/// Writes advance the write generation. A read makes a report when there is none of the current generation; until the
/// next write, further reads give the same report.
#[derive(Debug)]
pub struct ReportItem {
    provider: Provider,
    privilege_floor: u32,
    request: ReportRequest,
    write_generation: u64,
    read_generation: u64,
    blobs: Option<Blobs>,
}

impl ReportItem {
    /// What `mkdir` makes.
    ///
    /// # Errors
    /// `ENXIO` when no driver is loaded.
    pub fn new(guest: &mut dyn Guest) -> Result<Self, Errno> {
        Ok(Self {
            provider: guest.provider()?,
            privilege_floor: guest.privilege_floor(),
            request: ReportRequest::default(),
            write_generation: 0,
            read_generation: 0,
            blobs: None,
        })
    }

    /// The files that the directory has.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute> {
        let (provider, floor) = (self.provider, self.privilege_floor);
        Attribute::ALL.into_iter().filter(move |attribute| attribute.is_visible(provider, floor))
    }

    /// A complete write to a file.
    ///
    /// # Errors
    /// `EINVAL` or `ERANGE` for what the file does not take, `EBUSY` when a report has to be read first, `EACCES` for a
    /// file that is not written.
    pub fn store(&mut self, attribute: Attribute, bytes: &[u8], guest: &mut dyn Guest) -> Result<(), Errno> {
        match attribute {
            Attribute::Privlevel => {
                let level = unsigned(bytes)?;
                if level < self.privilege_floor || level > PRIVILEGE_LEVEL_MAX {
                    return Err(Errno::EINVAL);
                }
                self.advance(guest)?;
                self.request.privilege_level = level;
            }
            Attribute::ServiceProvider => {
                if bytes.trim_ascii() != b"svsm" {
                    return Err(Errno::EINVAL);
                }
                self.advance(guest)?;
                self.request.from_svsm = true;
            }
            Attribute::ServiceGuid => {
                if !is_guid(bytes.trim_ascii()) {
                    return Err(Errno::EINVAL);
                }
                self.advance(guest)?;
            }
            Attribute::ServiceManifestVersion => {
                unsigned(bytes)?;
                self.advance(guest)?;
            }
            Attribute::Inblob => {
                self.advance(guest)?;
                self.request.inblob = bytes.to_vec();
            }
            Attribute::Generation
            | Attribute::Provider
            | Attribute::PrivlevelFloor
            | Attribute::Outblob
            | Attribute::Auxblob
            | Attribute::Manifestblob => return Err(Errno::EACCES),
        }
        Ok(())
    }

    /// The complete content of a file.
    ///
    /// # Errors
    /// `EINVAL` before `inblob` was written, what the driver returns, `EACCES` for a file that is not read.
    pub fn show(&mut self, attribute: Attribute, guest: &mut dyn Guest) -> Result<Vec<u8>, Errno> {
        match attribute {
            Attribute::Generation => Ok(line(self.write_generation)),
            Attribute::Provider => Ok(line(self.provider.name())),
            Attribute::PrivlevelFloor => Ok(line(self.privilege_floor)),
            Attribute::Outblob => self.report(guest, |blobs| &blobs.outblob),
            Attribute::Auxblob => self.report(guest, |blobs| &blobs.auxblob),
            Attribute::Manifestblob => self.report(guest, |blobs| &blobs.manifestblob),
            Attribute::Privlevel
            | Attribute::ServiceProvider
            | Attribute::ServiceGuid
            | Attribute::ServiceManifestVersion
            | Attribute::Inblob => Err(Errno::EACCES),
        }
    }

    fn advance(&mut self, guest: &mut dyn Guest) -> Result<(), Errno> {
        // The kernel refuses when 2^64 - 1 writes came without a read. Nobody lives to see it, so it is a fault to order.
        if guest.is_busy() || self.write_generation == self.read_generation.wrapping_sub(1) {
            return Err(Errno::EBUSY);
        }
        self.write_generation = self.write_generation.wrapping_add(1);
        Ok(())
    }

    fn report(&mut self, guest: &mut dyn Guest, select: fn(&Blobs) -> &Vec<u8>) -> Result<Vec<u8>, Errno> {
        if self.request.inblob.is_empty() {
            return Err(Errno::EINVAL);
        }
        let current = self.read_generation == self.write_generation;
        match &self.blobs {
            Some(blobs) if current => Ok(select(blobs).clone()),
            Some(_) | None => {
                self.blobs = None;
                let blobs = guest.report(&self.request)?;
                self.read_generation = self.write_generation;
                self.write_generation = self.write_generation.wrapping_add(blobs.foreign_writes);
                let selected = select(&blobs).clone();
                self.blobs = Some(blobs);
                Ok(selected)
            }
        }
    }
}

fn line(value: impl std::fmt::Display) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

/// `kstrtouint` with base 0: decimal, `0x` or leading-zero octal, an optional `+` and one optional line end.
fn unsigned(bytes: &[u8]) -> Result<u32, Errno> {
    let text = std::str::from_utf8(bytes).map_err(|_not_text| Errno::EINVAL)?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_prefix('+').unwrap_or(text);
    let (digits, radix) = match (text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")), text.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        (None, _) => (text, 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(Errno::EINVAL);
    }
    u32::from_str_radix(digits, radix).map_err(|_too_large| Errno::ERANGE)
}

/// `8-4-4-4-12` hex digits.
fn is_guid(bytes: &[u8]) -> bool {
    let groups: Vec<&[u8]> = bytes.split(|byte| *byte == b'-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.concat().iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::tsm::{Faults, GuestState, SimulatedGuest, SnpState, StateSource};

    fn guest(state: GuestState) -> SimulatedGuest {
        SimulatedGuest::new(StateSource::Fixed(Box::new(state)))
    }

    #[test]
    fn a_report_carries_the_inblob_and_the_level_and_stays_until_the_next_write() {
        let mut guest = guest(GuestState::default());
        let mut item = ReportItem::new(&mut guest).unwrap();
        assert_eq!(item.show(Attribute::Outblob, &mut guest), Err(Errno::EINVAL));
        item.store(Attribute::Privlevel, b"2", &mut guest).unwrap();
        item.store(Attribute::Inblob, &[7; 64], &mut guest).unwrap();
        let report = item.show(Attribute::Outblob, &mut guest).unwrap();
        assert_eq!((&report[0x50..0x90], &report[0x30..0x34]), ([7; 64].as_slice(), [2, 0, 0, 0].as_slice()));
        assert_eq!(item.show(Attribute::Generation, &mut guest).unwrap(), b"2\n");
        assert_eq!(item.show(Attribute::Outblob, &mut guest).unwrap(), report);

        item.store(Attribute::Inblob, &[8; 64], &mut guest).unwrap();
        assert_ne!(item.show(Attribute::Outblob, &mut guest).unwrap(), report);
        assert_eq!(item.show(Attribute::Generation, &mut guest).unwrap(), b"3\n");
    }

    #[test]
    fn an_inblob_of_another_length_is_refused_when_the_report_is_read() {
        let mut guest = guest(GuestState::default());
        let mut item = ReportItem::new(&mut guest).unwrap();
        for length in [1, 63] {
            item.store(Attribute::Inblob, &vec![1; length], &mut guest).unwrap();
            assert_eq!(item.show(Attribute::Outblob, &mut guest), Err(Errno::EINVAL));
        }
        item.store(Attribute::Inblob, &[1; 64], &mut guest).unwrap();
        assert!(item.show(Attribute::Auxblob, &mut guest).is_ok());
    }

    #[test]
    fn privilege_levels_are_numbers_from_the_floor_to_three() {
        let mut guest = guest(GuestState { snp: SnpState { vmpl: 1, ..SnpState::default() }, ..GuestState::default() });
        let mut item = ReportItem::new(&mut guest).unwrap();
        assert_eq!(item.show(Attribute::PrivlevelFloor, &mut guest).unwrap(), b"1\n");
        for (text, expected) in [
            (&b"0"[..], Err(Errno::EINVAL)),
            (b"1", Ok(())),
            (b"3\n", Ok(())),
            (b"0x2", Ok(())),
            (b"4", Err(Errno::EINVAL)),
            (b"\x01", Err(Errno::EINVAL)),
            (b"", Err(Errno::EINVAL)),
            (b"-1", Err(Errno::EINVAL)),
            (b"99999999999", Err(Errno::ERANGE)),
        ] {
            assert_eq!(item.store(Attribute::Privlevel, text, &mut guest), expected, "{text:?}");
        }
        // The default level, 0, is above what this guest may ask for.
        let mut fresh = ReportItem::new(&mut guest).unwrap();
        fresh.store(Attribute::Inblob, &[1; 64], &mut guest).unwrap();
        assert_eq!(fresh.show(Attribute::Outblob, &mut guest), Err(Errno::EINVAL));
    }

    #[test]
    fn attributes_of_services_exist_under_an_svsm_only() {
        let names = |vmpl| {
            let snp = SnpState { vmpl, ..SnpState::default() };
            let mut guest = guest(GuestState { snp, ..GuestState::default() });
            ReportItem::new(&mut guest).unwrap().attributes().map(Attribute::name).collect::<Vec<_>>()
        };
        let plain = ["generation", "provider", "privlevel", "privlevel_floor", "inblob", "outblob", "auxblob"];
        assert_eq!(names(0), plain);
        assert_eq!(names(2).len(), 11);
    }

    #[test]
    fn an_svsm_report_is_of_level_zero_and_binds_the_manifest() {
        let snp = SnpState {
            vmpl: 2,
            service_manifest: Some(crate::tsm::HexBytes(b"manifest".to_vec())),
            ..SnpState::default()
        };
        let mut guest = guest(GuestState { snp, ..GuestState::default() });
        let mut item = ReportItem::new(&mut guest).unwrap();
        assert_eq!(item.store(Attribute::ServiceProvider, b"other", &mut guest), Err(Errno::EINVAL));
        item.store(Attribute::ServiceProvider, b"svsm\n", &mut guest).unwrap();
        item.store(Attribute::Inblob, &[1; 64], &mut guest).unwrap();
        let report = item.show(Attribute::Outblob, &mut guest).unwrap();
        assert_eq!(report[0x30..0x34], [0; 4]);
        let bound = openssl::sha::sha512(&[[1; 64].as_slice(), b"manifest"].concat());
        assert_eq!(report[0x50..0x90], bound);
        assert_eq!(item.show(Attribute::Manifestblob, &mut guest).unwrap(), b"manifest");
    }

    #[test]
    fn a_td_gives_a_quote_and_has_no_other_attributes() {
        let state = toml::from_str("provider = \"tdx_guest\"\n[tdx]\nattributes = 0x10000001\npadding = 3").unwrap();
        let mut guest = guest(state);
        let mut item = ReportItem::new(&mut guest).unwrap();
        let names: Vec<_> = item.attributes().map(Attribute::name).collect();
        assert_eq!(names, ["generation", "provider", "inblob", "outblob"]);
        item.store(Attribute::Inblob, &[9; 63], &mut guest).unwrap();
        assert_eq!(item.show(Attribute::Outblob, &mut guest), Err(Errno::EINVAL));
        item.store(Attribute::Inblob, &[9; 64], &mut guest).unwrap();
        let quote = item.show(Attribute::Outblob, &mut guest).unwrap();
        let quote = evidence_formats::tdx::TdxQuote::parse(&quote).unwrap();
        assert_eq!((quote.body.report_data.0, quote.body.info.attributes.0), ([9; 64], 0x1000_0001));
        assert_eq!(quote.trailing, evidence_formats::tdx::Trailing::Padding { length: 3 });
    }

    #[test]
    fn another_writer_moves_the_generation_once() {
        let faults = Faults { interrupted_reports: 1, ..Faults::default() };
        let mut guest = guest(GuestState { faults, ..GuestState::default() });
        for generation in [b"2\n", b"1\n"] {
            let mut item = ReportItem::new(&mut guest).unwrap();
            item.store(Attribute::Inblob, &[1; 64], &mut guest).unwrap();
            item.show(Attribute::Outblob, &mut guest).unwrap();
            assert_eq!(item.show(Attribute::Generation, &mut guest).unwrap(), generation);
        }
    }

    #[test]
    fn faults_hit_as_ordered() {
        let faults = |text| toml::from_str::<Faults>(text).unwrap();
        let mut busy = guest(GuestState { faults: faults("busy = true"), ..GuestState::default() });
        let mut item = ReportItem::new(&mut busy).unwrap();
        assert_eq!(item.store(Attribute::Inblob, &[1; 64], &mut busy), Err(Errno::EBUSY));

        let mut none = guest(GuestState { faults: faults("no_provider = true"), ..GuestState::default() });
        assert!(matches!(ReportItem::new(&mut none), Err(Errno::ENXIO)));

        let failing = faults("failure = \"EINTR\"\nfailing_reports = 2\nflip_byte = 0\ntruncate = 9\nappend_zeros = 1");
        let mut failing = guest(GuestState { faults: failing, ..GuestState::default() });
        let mut item = ReportItem::new(&mut failing).unwrap();
        item.store(Attribute::Inblob, &[1; 64], &mut failing).unwrap();
        assert_eq!(item.show(Attribute::Outblob, &mut failing), Err(Errno::EINTR));
        assert_eq!(item.show(Attribute::Outblob, &mut failing), Err(Errno::EINTR));
        assert_eq!(item.show(Attribute::Outblob, &mut failing).unwrap(), [2, 0, 0, 0, 0, 0, 0, 0, 0x37, 0]);
    }
}

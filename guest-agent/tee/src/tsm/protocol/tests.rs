#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use super::*;

/// What a fake directory does differently from a healthy one.
#[derive(Clone, Default)]
struct Fault {
    /// Reading this attribute fails with this.
    read: Option<(Attribute, Errno)>,
    /// Another process writes just before this attribute is read.
    intruder_before: Option<Attribute>,
    /// The write of `inblob` is lost when its file is closed.
    lost_write: bool,
    provider: Option<&'static str>,
    floor: Option<&'static str>,
    generation: Option<&'static str>,
    auxiliary: Option<Vec<u8>>,
    manifest: Option<Vec<u8>>,
}

type Writes = Rc<RefCell<Vec<(Attribute, Vec<u8>)>>>;

#[derive(Default)]
struct Fake {
    faults: RefCell<VecDeque<Fault>>,
    made: Cell<u32>,
    removed: Rc<Cell<u32>>,
    written: Writes,
}

struct FakeEntry {
    fault: Fault,
    writes: Cell<u64>,
    inblob: Option<Vec<u8>>,
    written: Writes,
    removed: Rc<Cell<u32>>,
}

impl Fake {
    fn with(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { faults: RefCell::new(faults.into_iter().collect()), ..Self::default() }
    }
}

impl Entries for Fake {
    type Entry = FakeEntry;

    fn make(&self) -> Result<FakeEntry, Errno> {
        self.made.set(self.made.get() + 1);
        let fault = self.faults.borrow_mut().pop_front().unwrap_or_default();
        let (written, removed) = (Rc::clone(&self.written), Rc::clone(&self.removed));
        Ok(FakeEntry { fault, writes: Cell::new(0), inblob: None, written, removed })
    }
}

impl Entry for FakeEntry {
    fn read(&self, attribute: Attribute) -> Result<Vec<u8>, EntryError> {
        if let Some((_, errno)) = self.fault.read.filter(|(at, _)| *at == attribute) {
            return Err(errno.into());
        }
        if self.fault.intruder_before == Some(attribute) {
            self.writes.set(self.writes.get() + 1);
        }
        match attribute {
            Attribute::Provider => Ok(self.fault.provider.unwrap_or("sev_guest\n").into()),
            Attribute::Generation => {
                Ok(self.fault.generation.map_or_else(|| format!("{}\n", self.writes.get()), str::to_owned).into())
            }
            Attribute::PrivLevelFloor => self.fault.floor.map(Into::into).ok_or(Errno::NOENT.into()),
            Attribute::OutBlob => self.inblob.clone().ok_or(Errno::INVAL.into()),
            Attribute::AuxBlob => Ok(self.fault.auxiliary.clone().unwrap_or_default()),
            Attribute::ManifestBlob => self.fault.manifest.clone().ok_or(Errno::NOENT.into()),
            Attribute::InBlob
            | Attribute::PrivLevel
            | Attribute::ServiceProvider
            | Attribute::ServiceGuid
            | Attribute::ServiceManifestVersion => Err(Errno::NOENT.into()),
        }
    }

    fn has(&self, attribute: Attribute) -> Result<bool, EntryError> {
        Ok(attribute != Attribute::ServiceProvider || self.fault.manifest.is_some())
    }

    fn write(&mut self, attribute: Attribute, bytes: &[u8]) -> Result<(), EntryError> {
        self.written.borrow_mut().push((attribute, bytes.to_vec()));
        if attribute == Attribute::InBlob && !self.fault.lost_write {
            self.inblob = Some(bytes.to_vec());
        }
        if !self.fault.lost_write {
            self.writes.set(self.writes.get() + 1);
        }
        Ok(())
    }
}

impl Drop for FakeEntry {
    fn drop(&mut self) {
        self.removed.set(self.removed.get() + 1);
    }
}

const DATA: ReportData = ReportData([7; 64]);

fn ask(fake: &Fake, privilege_level: Option<u8>) -> Result<Blobs, TsmError> {
    collect(fake, &Request { report_data: &DATA, privilege_level, svsm_vtpm: false })
}

#[test]
fn a_healthy_directory_gives_the_report_and_is_removed() {
    let fake = Fake::with([Fault { auxiliary: Some(vec![1, 2]), ..Fault::default() }]);
    let blobs = ask(&fake, None).unwrap();
    assert_eq!(blobs.provider, TsmProvider::SevGuest);
    assert_eq!(blobs.report, DATA.as_bytes());
    assert_eq!(blobs.auxiliary, Some(vec![1, 2]));
    assert_eq!(*fake.written.borrow(), [(Attribute::InBlob, DATA.as_bytes().to_vec())]);
    assert_eq!((fake.made.get(), fake.removed.get()), (1, 1));
}

#[test]
fn an_empty_auxblob_is_no_auxblob() {
    assert_eq!(ask(&Fake::default(), None).unwrap().auxiliary, None);
}

#[test]
fn the_privilege_level_is_written_first_and_in_ascii() {
    let fake = Fake::default();
    ask(&fake, Some(1)).unwrap();
    assert_eq!(fake.written.borrow().first().unwrap(), &(Attribute::PrivLevel, b"1".to_vec()));
}

#[test]
fn a_guest_below_an_svsm_asks_for_its_floor() {
    let fake = Fake::with([Fault { floor: Some("2\n"), ..Fault::default() }]);
    ask(&fake, None).unwrap();
    assert_eq!(fake.written.borrow().first().unwrap(), &(Attribute::PrivLevel, b"2".to_vec()));
}

#[test]
fn a_floor_of_zero_and_tdx_write_no_privilege_level() {
    for fault in [
        Fault { floor: Some("0\n"), ..Fault::default() },
        Fault { provider: Some("tdx_guest\n"), floor: Some("2\n"), ..Fault::default() },
    ] {
        let fake = Fake::with([fault]);
        ask(&fake, None).unwrap();
        assert_eq!(fake.written.borrow().len(), 1);
    }
}

#[test]
fn another_writer_means_a_fresh_directory() {
    for attribute in [Attribute::OutBlob, Attribute::AuxBlob] {
        let fake = Fake::with([Fault { intruder_before: Some(attribute), ..Fault::default() }]);
        ask(&fake, None).unwrap();
        assert_eq!((fake.made.get(), fake.removed.get()), (2, 2), "{attribute}");
    }
}

#[test]
fn another_writer_every_time_is_an_error_after_bounded_attempts() {
    let fault = Fault { intruder_before: Some(Attribute::OutBlob), ..Fault::default() };
    let fake = Fake::with(vec![fault; 99]);
    assert_eq!(ask(&fake, None), Err(TsmError::Interference { attempts: ATTEMPTS }));
    assert_eq!((fake.made.get(), fake.removed.get()), (ATTEMPTS, ATTEMPTS));
}

#[test]
fn a_write_that_is_lost_at_close_is_noticed() {
    let fake = Fake::with([Fault { lost_write: true, ..Fault::default() }]);
    ask(&fake, None).unwrap();
    assert_eq!(fake.made.get(), 2);
}

#[test]
fn transient_errors_are_retried_and_others_are_final() {
    for errno in [Errno::INTR, Errno::AGAIN, Errno::BUSY] {
        let fake = Fake::with([Fault { read: Some((Attribute::OutBlob, errno)), ..Fault::default() }]);
        assert!(ask(&fake, None).is_ok(), "{errno}");
        assert_eq!(fake.made.get(), 2);
    }
    let table = [
        (Errno::NXIO, TsmError::NoProvider),
        (Errno::INVAL, TsmError::Rejected { attribute: Attribute::OutBlob }),
        (Errno::FBIG, TsmError::TooLarge { attribute: Attribute::OutBlob, limit: 64 * 1024 }),
        (Errno::ACCESS, TsmError::Permission),
        (Errno::IO, TsmError::Failed { attribute: Attribute::OutBlob, errno: Errno::IO }),
    ];
    for (errno, error) in table {
        let fake = Fake::with([Fault { read: Some((Attribute::OutBlob, errno)), ..Fault::default() }]);
        assert_eq!(ask(&fake, None), Err(error));
        assert_eq!((fake.made.get(), fake.removed.get()), (1, 1));
    }
}

#[test]
fn a_provider_that_nobody_knows_is_refused_by_name() {
    let fake = Fake::with([Fault { provider: Some("arm_cca_guest\n"), ..Fault::default() }]);
    assert_eq!(probe(&fake), Err(TsmError::UnknownProvider { name: "arm_cca_guest".to_owned() }));
}

#[test]
fn a_generation_that_is_no_number_is_refused() {
    let fake = Fake::with([Fault { generation: Some("many\n"), ..Fault::default() }]);
    assert_eq!(ask(&fake, None), Err(TsmError::Generation));
}

#[test]
fn an_svsm_is_asked_for_its_vtpm_and_not_for_a_level() {
    let under = || Fault { manifest: Some(vec![9]), floor: Some("2\n"), ..Fault::default() };
    let fake = Fake::with([under(), under()]);
    assert_eq!(is_under_svsm(&fake), Ok(true));
    let request = Request { report_data: &DATA, privilege_level: None, svsm_vtpm: true };
    assert_eq!(collect(&fake, &request).unwrap().manifest, Some(vec![9]));
    let written: Vec<_> = fake.written.borrow().iter().map(|(attribute, _)| *attribute).collect();
    let expected =
        [Attribute::ServiceProvider, Attribute::ServiceGuid, Attribute::ServiceManifestVersion, Attribute::InBlob];
    assert_eq!(written, expected);
    assert_eq!(is_under_svsm(&Fake::default()), Ok(false));
}

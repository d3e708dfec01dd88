//! What one alternative pins, compared with claims, one pin at a time.

use std::fmt;

use evidence_formats::bytes::{LaunchDigest, Sha384Digest};

use super::{EventValue, Measurement, RegisterName};
use crate::{Claims, Platform};

/// One thing that an alternative pins.
pub(super) struct Pin<'a> {
    pub(super) what: PinName<'a>,
    pub(super) expected: Shown<'a>,
    pub(super) actual: Shown<'a>,
    pub(super) agrees: bool,
}

/// Its name: `launch`, `runtime.pcr4`, `event.kernel`, …
#[derive(Clone, Copy)]
pub(super) enum PinName<'a> {
    Plain(&'static str),
    Runtime(&'a RegisterName),
    Event(&'a str),
}

/// A value that is turned into text only when somebody reads it.
#[derive(Clone, Copy)]
pub(super) enum Shown<'a> {
    Absent,
    Text(&'a str),
    Launch(&'a LaunchDigest),
    Key(&'a Sha384Digest),
    Events(&'a [EventValue]),
    OneOf(&'a [String]),
    AtLeast(u32),
    Number(u32),
}

impl fmt::Display for PinName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(name) => f.write_str(name),
            Self::Runtime(register) => write!(f, "runtime.{register}"),
            Self::Event(name) => write!(f, "event.{name}"),
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing"),
            Self::Text(text) => f.write_str(text),
            Self::Launch(digest) => fmt::Display::fmt(digest, f),
            Self::Key(digest) => fmt::Display::fmt(digest, f),
            Self::Events(values) => f.write_str(&values.iter().map(EventValue::as_str).collect::<Vec<_>>().join(", ")),
            Self::OneOf(texts) => f.write_str(&texts.join(" or ")),
            Self::AtLeast(number) => write!(f, "at least {number}"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

fn shown(text: Option<&str>) -> Shown<'_> {
    text.map_or(Shown::Absent, Shown::Text)
}

impl Measurement {
    /// Everything that this alternative pins, compared with `claims`.
    pub(super) fn pins<'a>(&'a self, claims: &'a Claims) -> impl Iterator<Item = Pin<'a>> {
        self.machine_pins(claims).chain(self.code_pins(claims)).chain(self.signer_pins(claims))
    }

    /// Whether it pins code that is measured after launch.
    pub(super) fn pins_run_time(&self) -> bool {
        !self.runtime.is_empty() || self.events.values().any(|events| !events.0.is_empty())
    }

    fn machine_pins<'a>(&'a self, claims: &'a Claims) -> impl Iterator<Item = Pin<'a>> {
        let model = (!self.hwmodel.is_empty()).then(|| Pin {
            what: PinName::Plain("hwmodel"),
            expected: Shown::OneOf(&self.hwmodel),
            actual: Shown::Text(claims.hwmodel),
            agrees: self.hwmodel.iter().any(|model| model == claims.hwmodel),
        });
        let platform = self.platform.map(|platform: Platform| Pin {
            what: PinName::Plain("platform"),
            expected: Shown::Text(platform.as_str()),
            actual: Shown::Text(claims.platform.as_str()),
            agrees: platform == claims.platform,
        });
        let host_data = self.host_data.as_ref().map(|wanted| Pin {
            what: PinName::Plain("host_data"),
            expected: Shown::Text(wanted.as_str()),
            actual: shown(claims.host_data.as_deref()),
            agrees: claims.host_data.as_deref() == Some(wanted.as_str()),
        });
        model.into_iter().chain(platform).chain(host_data)
    }

    fn code_pins<'a>(&'a self, claims: &'a Claims) -> impl Iterator<Item = Pin<'a>> {
        let launch = self.launch.as_ref().map(|wanted| Pin {
            what: PinName::Plain("launch"),
            expected: Shown::Launch(wanted),
            actual: claims.measurement.launch.as_ref().map_or(Shown::Absent, Shown::Launch),
            agrees: claims.measurement.launch.as_ref() == Some(wanted),
        });
        let registers = self.runtime.iter().map(|(register, wanted)| {
            let found = claims.measurement.runtime.get(register.as_str()).map(|register| register.value.as_str());
            Pin {
                what: PinName::Runtime(register),
                expected: Shown::Text(wanted.as_str()),
                actual: shown(found),
                agrees: found == Some(wanted.as_str()),
            }
        });
        let events = self.events.iter().flat_map(|(register, events)| {
            let found = claims.measurement.runtime.get(register.as_str());
            events.0.iter().map(move |(name, wanted)| {
                let found = found.and_then(|register| register.events.get(name));
                Pin {
                    what: PinName::Event(name),
                    expected: Shown::Events(wanted),
                    actual: found.map_or(Shown::Absent, |found| Shown::OneOf(found)),
                    agrees: found.is_some_and(|found| found.iter().eq(wanted.iter().map(EventValue::as_str))),
                }
            })
        });
        launch.into_iter().chain(registers).chain(events)
    }

    fn signer_pins<'a>(&'a self, claims: &'a Claims) -> impl Iterator<Item = Pin<'a>> {
        let signer = claims.signer.as_ref();
        let id_key = signer.map(|signer| signer.id_key_digest.as_str());
        let author_key = signer.and_then(|signer| signer.author_key_digest.as_deref());
        let svn = signer.and_then(|signer| signer.guest_svn);
        let keys = [
            ("id_key_digest", &self.id_key_digest, id_key),
            ("author_key_digest", &self.author_key_digest, author_key),
        ];
        let keys = keys.into_iter().filter_map(|(name, wanted, found)| {
            let wanted = wanted.as_ref()?;
            // A zero digest means that no key signed: it never matches (SNP ABI 56860, ID block).
            let agrees = !wanted.is_zero() && found.and_then(|found| found.parse().ok()) == Some(*wanted);
            Some(Pin { what: PinName::Plain(name), expected: Shown::Key(wanted), actual: shown(found), agrees })
        });
        let svn = self.min_guest_svn.map(move |least| Pin {
            what: PinName::Plain("guest_svn"),
            expected: Shown::AtLeast(least),
            actual: svn.map_or(Shown::Absent, Shown::Number),
            agrees: svn.is_some_and(|svn| svn >= least),
        });
        keys.chain(svn)
    }
}

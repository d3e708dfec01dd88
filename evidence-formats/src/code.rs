//! Stable refusal codes.

use std::fmt;

/// A stable, dotted refusal code such as `authenticate.snp.signature`.
///
/// The first segment names the stage that refused (`parse`, `authenticate`, `endorsement`, `binding`, `baseline`,
/// `reference`, `policy`); scripts and dashboards depend on the whole string, so a published code never changes meaning.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(&'static str);

impl Code {
    /// Names a code. Call sites are constants; the text is never built at run time.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self(text)
    }

    /// The dotted text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

/// An error that refuses something for a stable reason.
///
/// Implementations map every variant by an exhaustive `match`, so that a new variant cannot be published without a code.
pub trait Coded: std::error::Error {
    /// The stable code of this refusal.
    fn code(&self) -> Code;
}

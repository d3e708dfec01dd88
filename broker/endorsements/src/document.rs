//! A document as a service sent it.

/// Bytes of one document. Nothing about them is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The document: DER, PEM, hex of DER or signed JSON, as the service sends it.
    pub body: Vec<u8>,
    /// The certificates above its signature, where the service sends them beside it (PEM, percent-encoded or not).
    pub issuer_chain: Option<Vec<u8>>,
}

//! TPMT_SIGNATURE (TPM 2.0 part 2, section 11.3.4), and the bare RSA signature that Azure's paravisor hands out.

use super::{
    TpmError,
    attest::sized,
    public::{ALG_ECDSA, ALG_RSAPSS, ALG_RSASSA},
};
use crate::{bytes::Reader, digest::HashAlgorithm};

/// Longest RSA signature: 4096 bits.
const MAX_RSA: usize = 512;
/// Longest ECDSA component: P-521.
const MAX_SCALAR: usize = 66;

/// Signature of a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TpmSignature {
    /// RSASSA-PKCS1-v1_5.
    Rsassa {
        /// Hash of the scheme.
        hash: HashAlgorithm,
        /// The signature.
        signature: Vec<u8>,
    },
    /// RSASSA-PSS.
    Rsapss {
        /// Hash of the scheme.
        hash: HashAlgorithm,
        /// The signature.
        signature: Vec<u8>,
    },
    /// ECDSA; r and s are big-endian without a fixed length.
    Ecdsa {
        /// Hash of the scheme.
        hash: HashAlgorithm,
        /// r.
        r: Vec<u8>,
        /// s.
        s: Vec<u8>,
    },
    /// A bare RSA signature of 256, 384 or 512 bytes: the scheme is the key's.
    BareRsa {
        /// The signature.
        signature: Vec<u8>,
    },
}

impl TpmSignature {
    /// Parses TPMT_SIGNATURE, or takes 256, 384 or 512 bytes as a bare RSA signature. No TPMT_SIGNATURE of the
    /// allowed schemes has such a length with an RSA or ECC key in use, so the two cannot be confused.
    ///
    /// # Errors
    /// [`TpmError`] naming the field.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        if matches!(bytes.len(), 256 | 384 | 512) {
            return Ok(Self::BareRsa { signature: bytes.to_vec() });
        }
        let mut reader = Reader::new(bytes);
        let scheme = reader.u16_be()?;
        let hash_id = reader.u16_be()?;
        let unknown_hash = TpmError::Field { field: "signature.hash", value: hash_id.into() };
        let hash = HashAlgorithm::from_tpm_id(hash_id).ok_or(unknown_hash)?;
        let parsed = match scheme {
            ALG_RSASSA => Self::Rsassa { hash, signature: sized(&mut reader, "signature", MAX_RSA)?.to_vec() },
            ALG_RSAPSS => Self::Rsapss { hash, signature: sized(&mut reader, "signature", MAX_RSA)?.to_vec() },
            ALG_ECDSA => Self::Ecdsa {
                hash,
                r: sized(&mut reader, "signature.r", MAX_SCALAR)?.to_vec(),
                s: sized(&mut reader, "signature.s", MAX_SCALAR)?.to_vec(),
            },
            _ => return Err(TpmError::Field { field: "signature.sigAlg", value: scheme.into() }),
        };
        if !reader.is_empty() {
            return Err(TpmError::Trailing { structure: "signature", offset: reader.offset() });
        }
        Ok(parsed)
    }
}

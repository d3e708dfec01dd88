//! Runtime claims: the JSON that the hardware report binds.
use anyhow::{Result, bail};
use evidence_formats::bytes::ReportData;
use evidence_formats::tpm::{TpmKey, TpmPublic};
use openssl::base64::encode_block;
use serde_json::{Value, json};

use super::{AkClaim, ParavisorState};

/// Moduli of the keys in the TPM.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) ak: Vec<u8>,
    pub(super) ek: Vec<u8>,
}

/// The modulus of an RSA key.
pub(super) fn modulus(public: &TpmPublic) -> Result<Vec<u8>> {
    match &public.key {
        TpmKey::Rsa { modulus, .. } => Ok(modulus.clone()),
        TpmKey::Ecc { .. } => bail!("expected an RSA key"),
    }
}

/// The claims about these keys, with what the guest wrote.
pub(super) fn text(state: &ParavisorState, keys: &Keys, written: &ReportData) -> Vec<u8> {
    let ak = match state.ak {
        AkClaim::Genuine => keys.ak.clone(),
        AkClaim::Zero => vec![0; keys.ak.len()],
        // Odd and of full length, and nobody's.
        AkClaim::Foreign => keys.ak.iter().map(|byte| byte.rotate_left(1) | 0x81).collect(),
    };
    let user_data = state.user_data.as_ref().unwrap_or(written);
    let claims = json!({
        "keys": [key("HCLAkPub", "sign", &ak), key("HCLEkPub", "encrypt", &keys.ek)],
        "vm-configuration": {
            "root-cert-thumbprint": "",
            "console-enabled": state.console,
            "secure-boot": state.secure_boot,
            "tpm-enabled": true,
            "tpm-persisted": true,
            "vmUniqueId": "5F7EE000-0000-4000-8000-000000000001",
        },
        "user-data": user_data.to_string(),
    });
    claims.to_string().into_bytes()
}

fn key(kid: &str, operation: &str, modulus: &[u8]) -> Value {
    let modulus = base64url(modulus);
    json!({"kid": kid, "key_ops": [operation], "kty": "RSA", "e": "AQAB", "n": modulus})
}

/// Base64url without padding.
pub(super) fn base64url(bytes: &[u8]) -> String {
    encode_block(bytes).replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned()
}

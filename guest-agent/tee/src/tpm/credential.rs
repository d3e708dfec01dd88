//! Proof that an attestation key lives beside an endorsement key (TPM 2.0 part 1, section 24).

use zeroize::Zeroizing;

use super::{
    Key, Tpm, TpmError,
    command::{Command, CommandCode, Writer},
    key::MAX_NAME,
    response::sized,
    seal::whole,
};

impl Tpm {
    /// Opens a credential that was made for `ek` and the name of `ak` (TPM2_ActivateCredential). `blob` is a
    /// TPM2B_ID_OBJECT, `secret` a TPM2B_ENCRYPTED_SECRET, both with their size before them. What comes out, at most 64
    /// bytes, proves that both keys are in this TPM.
    ///
    /// # Errors
    /// [`TpmError`]: `TPM_RC_INTEGRITY` when it was made for another attestation key, `TPM_RC_VALUE` or others when it
    /// was made for another endorsement key.
    pub fn activate_credential(
        &self,
        ak: &Key,
        ek: &Key,
        blob: &[u8],
        secret: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let parameters = Writer::default()
            .bytes(whole(blob, "credential blob")?)
            .bytes(whole(secret, "encrypted secret of a credential")?);
        let session = self.endorsement_session()?;
        let command = Command::new(CommandCode::ACTIVATE_CREDENTIAL, &[ak.handle(), ek.handle()])
            .with_password()
            .with_session(session.handle())
            .parameters(parameters);
        self.ask(command, |reader| Ok(Zeroizing::new(sized(reader, "certInfo", MAX_NAME)?.to_vec())))
    }
}

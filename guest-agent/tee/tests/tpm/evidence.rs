//! Quotes.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use evidence_formats::{
    digest::{Digest, HashAlgorithm},
    tpm::{PcrSelection, TpmKey, TpmQuote, TpmSignature},
};
use softtee::der;
use tee::tpm::{AkKind, Key, Pcrs, Quote, TpmError};

use crate::bare;

const EXTRA: [u8; 48] = [0x5A; 48];

/// Checks the signature with an implementation that is not the product's verifier.
fn require_signed(ak: &Key, quote: &Quote) {
    match (&ak.public().key, TpmSignature::parse(&quote.signature).unwrap()) {
        (TpmKey::Rsa { modulus, .. }, TpmSignature::Rsassa { hash: HashAlgorithm::Sha256, signature }) => {
            let key = RsaPublicKeyComponents { n: modulus.as_slice(), e: &[1, 0, 1][..] };
            key.verify(&RSA_PKCS1_2048_8192_SHA256, &quote.message, &signature).unwrap();
        }
        (TpmKey::Ecc { x, y, .. }, TpmSignature::Ecdsa { hash: HashAlgorithm::Sha256, r, s }) => {
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, [&[4], x.as_slice(), y.as_slice()].concat());
            key.verify(&quote.message, &der::sequence(&[der::integer(&r), der::integer(&s)])).unwrap();
        }
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_quote_is_signed_and_quotes_the_values_beside_it() {
    let Some((_machine, tpm)) = bare() else { return };
    tpm.pcr_extend(7, &[Digest::filled(HashAlgorithm::Sha256, 1)]).unwrap();
    for kind in [AkKind::Rsa2048, AkKind::EccP256] {
        let ak = tpm.create_ak(kind).unwrap();
        let pcrs = Pcrs::all(HashAlgorithm::Sha256);
        let quoted = tpm.quote_pcrs(&ak, &EXTRA, &pcrs).unwrap();
        require_signed(&ak, &quoted.quote);
        let quote = TpmQuote::parse(&quoted.quote.message).unwrap();
        assert_eq!(quote.extra_data, EXTRA);
        assert_eq!(quote.selections, [PcrSelection { bank: HashAlgorithm::Sha256, pcrs: (0..24).collect() }]);
        let values: Vec<_> = quoted.values.values().map(Digest::as_bytes).collect();
        assert_eq!(HashAlgorithm::Sha256.digest(&values).as_bytes(), quote.pcr_digest);
        assert_eq!(quoted.values.len(), 24);
        let endorsement = 0x4000_000B_u32.to_be_bytes();
        assert_eq!(quote.qualified_signer, ak.name().qualified_under(HashAlgorithm::Sha256, &endorsement));
    }
}

#[test]
fn a_register_that_changes_between_quotes_is_read_again() {
    let Some((_machine, tpm)) = bare() else { return };
    let ak = tpm.create_ak(AkKind::EccP256).unwrap();
    let pcrs = Pcrs::all(HashAlgorithm::Sha256);
    let first = tpm.quote_pcrs(&ak, &EXTRA, &pcrs).unwrap();
    assert_eq!(tpm.quote_pcrs(&ak, &EXTRA, &pcrs).unwrap().values, first.values);
    tpm.pcr_extend(11, &[Digest::filled(HashAlgorithm::Sha256, 1)]).unwrap();
    let second = tpm.quote_pcrs(&ak, &EXTRA, &pcrs).unwrap();
    assert_ne!(second.values[&11], first.values[&11]);
    let quote = TpmQuote::parse(&second.quote.message).unwrap();
    let values: Vec<_> = second.values.values().map(Digest::as_bytes).collect();
    assert_eq!(HashAlgorithm::Sha256.digest(&values).as_bytes(), quote.pcr_digest);
    // Other PCRs are other values, and fewer of them.
    let fewer = Pcrs::new(HashAlgorithm::Sha256, [11]);
    assert_eq!(tpm.quote_pcrs(&ak, &EXTRA, &fewer).unwrap().values, [(11, second.values[&11])].into());
}

#[test]
fn other_banks_and_selections_are_quoted_as_asked() {
    let Some((_machine, tpm)) = bare() else { return };
    let ak = tpm.create_ak(AkKind::EccP256).unwrap();
    let pcrs = Pcrs::new(HashAlgorithm::Sha384, [0, 2, 4, 7, 11]);
    let quoted = tpm.quote_pcrs(&ak, &EXTRA, &pcrs).unwrap();
    assert_eq!(quoted.values.keys().copied().collect::<Vec<_>>(), [0, 2, 4, 7, 11]);
    // What an attacker asks for is the attacker's choice: the verifier must look.
    let some = |pcrs: &[u8]| PcrSelection { bank: HashAlgorithm::Sha256, pcrs: pcrs.iter().copied().collect() };
    let selections = [some(&[0, 1, 2, 3]), some(&[16]), some(&[5])];
    let quote = tpm.quote(&ak, &EXTRA, &selections).unwrap();
    assert_eq!(TpmQuote::parse(&quote.message).unwrap().selections, selections);
}

#[test]
fn a_bank_that_is_not_active_is_told_by_name() {
    let Some((_machine, tpm)) = bare() else { return };
    let banks = tpm.pcr_banks().unwrap();
    assert_eq!(banks[&HashAlgorithm::Sha256], Pcrs::all(HashAlgorithm::Sha256));
    let inactive = [HashAlgorithm::Sha1, HashAlgorithm::Sha384, HashAlgorithm::Sha512];
    for bank in inactive.into_iter().filter(|bank| !banks.contains_key(bank)) {
        let absent = TpmError::PcrAbsent { bank, pcr: 3 };
        assert_eq!(tpm.pcr_read(&Pcrs::new(bank, [3])), Err(absent));
    }
}

#[test]
fn qualifying_data_that_no_tpm_takes_is_refused() {
    let Some((_machine, tpm)) = bare() else { return };
    let ak = tpm.create_ak(AkKind::EccP256).unwrap();
    let pcrs = Pcrs::all(HashAlgorithm::Sha256);
    assert_eq!(crate::said(tpm.quote_pcrs(&ak, &[0; 67], &pcrs)), "TPM_RC_SIZE");
}

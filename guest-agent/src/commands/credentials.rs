//! `credentials`: tokens and SVIDs as files.

use std::path::Path;

use keys::secret::SecretBytes;

use super::{Guest, lease, postgres, ssh};
use crate::{
    cli::{BrokerArgs, Credential, TokenArgs},
    exchange::Wanted,
    failure::Failure,
    lease::Want,
    output::Output,
    svid::{PendingKey, X509Svid, to_pem},
};

/// Fetches and writes.
pub(super) fn write(credential: &Credential, guest: &Guest) -> Result<(), Failure> {
    match credential {
        Credential::Token(args) => token(args, "token", None, guest),
        Credential::JwtSvid { token: args, audience } => token(args, "jwt-svid", Some(audience), guest),
        Credential::X509Svid { name, broker, directory, lease_file } => match lease_file {
            None => x509_svid(name, broker, directory, guest),
            Some(file) => {
                let want = Want::X509Svid { name: name.clone() };
                lease::fetch(want, file, broker, guest, |given| lease::write_svid(directory, given))
            }
        },
        Credential::Postgres(args) => postgres::write(args, guest),
        Credential::SshCert(args) => ssh::write(args, guest),
        Credential::Exchange(args) => super::exchange::exchange(args, guest),
    }
}

fn token(args: &TokenArgs, kind: &'static str, audience: Option<&str>, guest: &Guest) -> Result<(), Failure> {
    let output = Output::secret(args.out.as_deref(), true)?;
    if let Some(file) = &args.lease_file {
        let name = args.name.clone();
        let want = match audience {
            None => Want::Token { name },
            Some(audience) => Want::JwtSvid { name, audience: audience.to_owned() },
        };
        return lease::fetch(want, file, &args.broker, guest, |given| lease::write_value(&output, given));
    }
    let wanted = Wanted { audience, ..Wanted::of(kind, &args.name) };
    Ok(output.write(guest.grant(&args.broker, wanted)?.expose())?)
}

fn x509_svid(name: &str, broker: &BrokerArgs, directory: &Path, guest: &Guest) -> Result<(), Failure> {
    let key = PendingKey::new()?;
    let wanted = Wanted { csr: Some(key.csr()), ..Wanted::of("x509-svid", name) };
    let answer = guest.grant(broker, wanted)?;
    write_files(directory, &key.certified(&answer)?)
}

/// Key and certificate in one file: there is no moment at which they do not fit.
pub(super) fn write_files(directory: &Path, svid: &X509Svid) -> Result<(), Failure> {
    let pair = SecretBytes::new([svid.key_pem().expose(), svid.chain_pem().as_bytes()].concat());
    Output::secret(Some(&directory.join("bundle.pem")), true)?.write(to_pem(&svid.bundle).as_bytes())?;
    Ok(Output::secret(Some(&directory.join("svid.pem")), true)?.write(pair.expose())?)
}

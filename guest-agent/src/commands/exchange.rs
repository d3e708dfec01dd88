//! `credentials exchange`: attests, and exchanges for a token that is bound to a key of this guest (RFC 8693, RFC 9449).

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keys::{
    dpop::{self, ShownToken},
    random::{Random, SystemRandom},
    secret::SecretBytes,
    tee_key::TeeKeyPair,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;
use tee::detect;

use super::{Guest, block_on};
use crate::{
    backoff::Backoff,
    cli::{ExchangeArgs, TokenFormat},
    exchange::{Ask, Attempt, Exchange},
    failure::Failure,
    output::Output,
    protocol::{CHALLENGE, Challenge, ChallengeRequest, Exchanged, TOKEN},
    result,
};

/// Most bytes of a subject token and of a key file.
const FILE_LIMIT: u64 = 256 * 1024;

/// Attests, exchanges and writes.
pub(super) fn exchange(args: &ExchangeArgs, guest: &Guest) -> Result<(), Failure> {
    let output = Output::secret(args.out.as_deref(), true)?;
    let subject = args.subject_token.as_deref().map(read).transpose()?;
    let key = Arc::new(key(&args.key)?);
    let settings = guest.settings.broker(&args.broker)?;
    let exchange = Exchange::new(settings, detect(&guest.paths)?, guest.enroll)?.for_key(Arc::clone(&key));
    let exchanged = block_on(async {
        let result = Box::pin(exchange.run(Ask { profile: None, grant: None, report: None })).await?.result;
        let form = form(args, &result, subject.as_deref());
        exchange.repeat(async |time| Box::pin(once(&exchange, &key, &result, &form, time)).await).await
    })?;
    let written = match args.format {
        TokenFormat::Token => exchanged.access_token.into_bytes(),
        TokenFormat::Json => {
            let mut answer = exchanged.more;
            answer.insert("access_token".to_owned(), json!(exchanged.access_token));
            format!("{}\n", serde_json::Value::Object(answer)).into_bytes()
        }
    };
    Ok(output.write(SecretBytes::new(written).expose())?)
}

/// One attempt: a nonce, a proof, the exchange.
async fn once(
    exchange: &Exchange,
    key: &SecretBytes,
    result: &str,
    form: &str,
    time: &Backoff,
) -> Result<Exchanged, Attempt> {
    let unmade = |reason: String| Failure::Make { what: "a proof", reason };
    let mut connection = exchange.connect(time).await?;
    let Challenge { nonce } = connection.post(CHALLENGE, &ChallengeRequest {}, time.left()).await?;
    let signer = TeeKeyPair::from_pkcs8(key).and_then(|pair| pair.signing_key());
    let signer = signer.ok_or_else(|| unmade("expected a P-256 key".to_owned()))?;
    let mut id = [0; 16];
    SystemRandom::new().fill(&mut id).map_err(|error| unmade(error.to_string()))?;
    // Broker and guest may have different clocks, and the guest's is the host's: the result that just came has the broker's.
    let (issuer, now) = result::issued(result).map_err(Failure::from)?;
    let request = dpop::Request {
        method: "POST",
        url: &format!("{}{TOKEN}", issuer.trim_end_matches('/')),
        id: &BASE64_URL_SAFE_NO_PAD.encode(id),
        now,
        token: ShownToken::None,
        nonce: Some(&nonce.to_string()),
    };
    let proof = dpop::prove(&signer, &request).map_err(|error| unmade(error.to_string()))?;
    Ok(connection.post_form(TOKEN, form.to_owned(), &proof, time.left()).await?)
}

/// The request: the result as actor, or as subject when the guest acts for itself.
fn form(args: &ExchangeArgs, result: &str, subject: Option<&str>) -> String {
    const EAR: &str = "urn:countersign:token-type:ear+jwt";
    const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
    let mut form = String::from("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange");
    let mut add = |name: &str, value: &str| {
        let _infallible = write!(form, "&{name}={}", encoded(value));
    };
    match subject {
        None => {
            add("subject_token", result);
            add("subject_token_type", EAR);
        }
        Some(subject) => {
            add("subject_token", subject);
            add("subject_token_type", JWT);
            add("actor_token", result);
            add("actor_token_type", EAR);
        }
    }
    add("audience", &args.audience);
    if !args.scope.is_empty() {
        add("scope", &args.scope.join(" "));
    }
    let optional = [
        ("purpose", args.purpose.clone()),
        ("task", args.task.clone()),
        ("expires_in", args.expires_in.map(|seconds| seconds.to_string())),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            add(name, &value);
        }
    }
    form
}

/// Percent-encoding of everything but the unreserved characters (RFC 3986 §2.3).
fn encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The key in the file, PKCS#8; a new one when there is no file.
fn key(path: &Path) -> Result<SecretBytes, Failure> {
    let unmade = |error: rcgen::Error| Failure::Make { what: "a key", reason: error.to_string() };
    if path.symlink_metadata().is_err() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unmade)?;
        let text = SecretBytes::new(key.serialize_pem().into_bytes());
        Output::secret(Some(path), false)?.write(text.expose())?;
    }
    let expected = || Failure::Argument { expected: "a P-256 private key (PKCS#8 PEM)", path: path.to_owned() };
    let text = SecretBytes::new(fs::read(path).map_err(|_unreadable| expected())?);
    let document = pem::parse(text.expose()).map_err(|_not_pem| expected())?;
    let document = SecretBytes::new(document.into_contents());
    TeeKeyPair::from_pkcs8(&document).ok_or_else(expected)?;
    Ok(document)
}

/// A token, without white space around it.
fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(FILE_LIMIT).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(FILE_LIMIT).read_to_string(&mut text))
    };
    read.map_err(|_unreadable| Failure::Argument { expected: "a token", path: path.to_owned() })?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn a_form_keeps_what_a_value_says() {
        assert_eq!(encoded("a b&c=d+%/~"), "a%20b%26c%3Dd%2B%25%2F~");
    }
}

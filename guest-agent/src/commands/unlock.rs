//! `unlock`: the key of a disk, from the broker to what opens the disk.

use std::time::Duration;

use keys::{offline::OfflineTerms, secret::SecretBytes};
use tee::detect;

use super::{Guest, block_on};
use crate::{
    cli::{BrokerArgs, UnlockArgs},
    clock::Written,
    console,
    exchange::{Ask, Exchange, Wanted},
    failure::Failure,
    luks::{OpenOptions, VolumeName},
    output::Output,
    unlock::{KeySource, Listeners, OfflineKeys, OpenedKey, ReleasedKey, serve},
};

/// Once, or at sockets.
pub(super) fn unlock(args: &UnlockArgs, guest: &Guest) -> Result<(), Failure> {
    console::also(&guest.settings.console(&args.console));
    let keys = BrokerKeys { guest, broker: &args.broker, secret: args.secret.as_deref() };
    let Some(volume) = args.volume.as_ref().filter(|_| args.device.is_some() || args.out.is_some()) else {
        return at_sockets(args, &keys);
    };
    let done = once(args, volume, &keys);
    if done.is_err() {
        console::say(&format!("the volume {volume} stays closed"));
    }
    done
}

fn once(args: &UnlockArgs, volume: &VolumeName, keys: &BrokerKeys<'_>) -> Result<(), Failure> {
    let Some(device) = &args.device else {
        let output = Output::secret(args.out.as_deref(), false)?;
        let key = block_on(keys.key(volume))?;
        return Ok(output.write(key.expose())?);
    };
    let key = block_on(keys.key(volume))?;
    let options = OpenOptions { read_only: args.read_only, allow_discards: args.allow_discards };
    keys.guest.settings.cryptsetup(&args.cryptsetup).open(device, volume, &key, options)?;
    console::say(&format!("{} is open as {volume}", device.display()));
    Ok(())
}

fn at_sockets(args: &UnlockArgs, keys: &BrokerKeys<'_>) -> Result<(), Failure> {
    // Before any caller waits: what is wrong with the settings is not the caller's business.
    keys.guest.settings.broker_at_boot(&args.broker)?;
    block_on(async {
        let (listeners, idle) = match &args.listen {
            Some(path) => (Listeners::bind(path)?, None),
            None => (Listeners::from_systemd()?, Some(Duration::from_secs(args.idle))),
        };
        serve(listeners, keys, args.volume.as_ref(), idle).await
    })
}

/// Keys of volumes, from the broker.
struct BrokerKeys<'a> {
    guest: &'a Guest,
    broker: &'a BrokerArgs,
    /// Which secret, when a flag says it.
    secret: Option<&'a str>,
}

impl KeySource for BrokerKeys<'_> {
    /// Hardware is looked for each time: early in a boot it may come between two callers.
    async fn key(&self, volume: &VolumeName) -> Result<SecretBytes, Failure> {
        let secret = self.secret.map_or_else(|| self.guest.settings.secret_of(volume), str::to_owned);
        let settings = self.guest.settings.broker_at_boot(self.broker)?;
        let (offline, patience) = (self.guest.settings.offline()?, settings.timeout);
        let exchange = Exchange::new(settings, detect(&self.guest.paths)?, self.guest.enroll)?;
        match offline {
            None => Box::pin(ask(&exchange, &secret, false)).await.map(|(_version, key, _terms)| key),
            Some(kept) => Box::pin(WithKept { kept, volume, secret: &secret, patience }.key(exchange)).await,
        }
    }
}

/// Version and value of a key, and the terms under which it may be kept.
type Released = (u64, SecretBytes, Option<OfflineTerms>);

async fn ask(exchange: &Exchange, secret: &str, offline: bool) -> Result<Released, Failure> {
    let wanted = Wanted { offline, ..Wanted::of("secret", secret) };
    let answer = Box::pin(exchange.run(Ask { profile: None, grant: Some(wanted), report: None })).await?;
    let (version, key) = answer.secret.ok_or(Failure::Answer { expected: "the grant" })?;
    Ok((version, key, answer.offline))
}

/// The key of a volume where the TPM may keep it.
struct WithKept<'a> {
    kept: OfflineKeys,
    volume: &'a VolumeName,
    secret: &'a str,
    /// How long the broker is waited for in all.
    patience: Duration,
}

impl WithKept<'_> {
    /// From the broker; when nothing is heard from it for a while, from the TPM; when that does not open, from the broker again.
    async fn key(&self, exchange: Exchange) -> Result<SecretBytes, Failure> {
        if !self.kept.hold(self.volume) {
            return self.settle(&exchange, Box::pin(ask(&exchange, self.secret, true)).await).await;
        }
        let first = self.kept.after.min(self.patience);
        let exchange = exchange.with_timeout(first);
        let asked = Box::pin(ask(&exchange, self.secret, true)).await;
        let Err(failure @ Failure::Unreachable { .. }) = asked else { return self.settle(&exchange, asked).await };
        console::say(&console::chain(&failure));
        match Box::pin(self.kept.open(&exchange, self.volume, self.secret)).await {
            Ok(OpenedKey { value, until }) => {
                let (volume, until) = (self.volume, Written(until));
                console::say(&format!(
                    "without the broker: the key of {volume} that this machine's TPM keeps until {until}"
                ));
                return Ok(value);
            }
            Err(error) => console::say(&format!("the TPM gives no key of {}: {}", self.volume, console::chain(&error))),
        }
        let left = self.patience.saturating_sub(first);
        if left.is_zero() {
            return Err(failure);
        }
        let exchange = exchange.with_timeout(left);
        self.settle(&exchange, Box::pin(ask(&exchange, self.secret, true)).await).await
    }

    /// What an answer of the broker does to what is kept: a release replaces it, or ends it when the broker does not allow it any
    /// more; a refusal ends it; everything else leaves it. A key that is not kept is no reason to keep the disk closed.
    async fn settle(&self, exchange: &Exchange, asked: Result<Released, Failure>) -> Result<SecretBytes, Failure> {
        match asked {
            Ok((version, value, terms)) => {
                let key = ReleasedKey { volume: self.volume, secret: self.secret, version, value: &value };
                let settled = match terms {
                    Some(terms) => match Box::pin(self.kept.keep(exchange, key, &terms)).await {
                        Ok(()) => Ok(false),
                        // The terms of before are not the broker's any more.
                        Err(error) => self.kept.forget(self.volume).and(Err(error)),
                    },
                    None => self.kept.forget(self.volume),
                };
                match settled {
                    Ok(true) => console::say(&format!("the key of {} is not kept any more", self.volume)),
                    Ok(false) => {}
                    Err(error) => {
                        console::say(&format!("the key of {} is not kept: {}", self.volume, console::chain(&error)));
                    }
                }
                Ok(value)
            }
            Err(failure @ (Failure::Refused(_) | Failure::AwaitingApproval { .. })) => {
                if let Err(error) = self.kept.forget(self.volume) {
                    console::say(&console::chain(&error));
                }
                Err(failure)
            }
            Err(failure) => Err(failure),
        }
    }
}

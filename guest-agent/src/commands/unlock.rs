//! `unlock`: the key of a disk, from the broker to what opens the disk.

use std::time::Duration;

use keys::secret::SecretBytes;
use tee::detect;

use super::{Guest, block_on};
use crate::{
    cli::{BrokerArgs, UnlockArgs},
    console,
    exchange::{Ask, Exchange, Wanted},
    failure::Failure,
    luks::{OpenOptions, VolumeName},
    output::Output,
    unlock::{KeySource, Listeners, serve},
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
        let exchange = Exchange::new(settings, detect(&self.guest.paths)?, self.guest.enroll)?;
        let wanted = Wanted::of("secret", &secret);
        let answer = Box::pin(exchange.run(Ask { profile: None, grant: Some(wanted), report: None })).await?;
        answer.secret.map(|(_version, key)| key).ok_or(Failure::Answer { expected: "the grant" })
    }
}

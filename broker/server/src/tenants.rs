//! Every tenant of this broker: each decides and signs by itself.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::{broker::Broker, collateral::Collateral, common::Common, config::Config};

/// The tenants, and what they share.
#[derive(Debug)]
pub(crate) struct Tenants {
    pub(crate) common: Common,
    /// The tenant that exists from the start; its administrators are the operators.
    first: Arc<Broker>,
    others: Vec<Arc<Broker>>,
}

impl Tenants {
    /// Opens all of them.
    ///
    /// # Errors
    /// When one of them cannot be opened: then none is served.
    pub(crate) async fn open(config: &Config) -> Result<Self> {
        let common = Common::open(config).await?;
        let first = Box::pin(Broker::open(config, &common)).await?;
        let mut others = Vec::new();
        for config in config.others() {
            let opened = Box::pin(Broker::open(config, &common)).await;
            others.push(opened.with_context(|| format!("tenant {}", config.name.as_str()))?);
        }
        let tenants = Self { common, first, others };
        for stored in tenants.common.store.tenants().await? {
            if !tenants.all().any(|broker| broker.tenant == stored.name) {
                let tenant = stored.name.as_str();
                tracing::warn!(tenant, "a tenant of the store is not configured: it is not served");
            }
        }
        Ok(tenants)
    }

    /// The tenant that exists from the start.
    pub(crate) const fn first(&self) -> &Arc<Broker> {
        &self.first
    }

    /// The others.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.others.iter()
    }

    /// Every one.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Broker>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Reads trust anchors, endorsements, the signers of reference values, baselines and upstream CAs again: all of them, for
    /// all tenants, or none.
    pub(crate) async fn reload(&self, config: &Config) -> Result<()> {
        let same = self.all().map(|broker| &broker.tenant).eq(config.all().map(|config| &config.name));
        ensure!(same, "expected the tenants of the start: another tenant needs a restart");
        let collateral = Collateral::read(&config.verification)?;
        let mut reread = Vec::new();
        for (broker, config) in self.all().zip(config.all()) {
            let read = broker.reread(config).with_context(|| format!("tenant {}", broker.tenant.as_str()))?;
            reread.push((broker, read));
        }
        self.common.take_over(collateral).await?;
        for (broker, read) in reread {
            broker.take_over(read);
        }
        tracing::info!("configuration reloaded");
        Ok(())
    }
}

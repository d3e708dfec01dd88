//! Bundles: out of one broker, into another one that has no network.

use endorsements::{Bundle, BundleError, BundleObject, Document};
use evidence_formats::{
    code::{Code, Coded},
    endorsement::{EndorsementId, Vendor},
};
use serde::Serialize;
use thiserror::Error;
use verifier::{AuthenticDocument, DocumentError, Timestamp};

use super::Library;
use crate::{clock, config::StaleCrl, store::StoreError};

/// A bundle was not taken: nothing of it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum CarryError {
    /// It is no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A document in it is refused.
    #[error("{id}: {cause}")]
    Document {
        /// Which.
        id: EndorsementId,
        /// Why.
        cause: DocumentError,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl CarryError {
    /// The code of a refusal; absent when the fault is ours.
    pub(crate) fn code(&self) -> Option<Code> {
        match self {
            Self::Bundle(error) => Some(error.code()),
            Self::Document { cause, .. } => Some(cause.code()),
            Self::Store(_) => None,
        }
    }
}

/// What was taken from a bundle.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Imported {
    /// Documents that are held now.
    pub(crate) imported: usize,
    /// Documents of which a newer one was held already.
    pub(crate) older: usize,
}

impl Library {
    /// Every current document, of one vendor or of all, as a bundle.
    pub(crate) async fn export(&self, vendor: Option<Vendor>) -> Result<Vec<u8>, CarryError> {
        let now = clock::now();
        let rows = self.shelf.all_received().await?;
        let wanted = |id: &EndorsementId| vendor.is_none_or(|vendor| id.vendor() == vendor);
        let rows = rows.into_iter().filter(|row| wanted(&row.id) && row.valid_until >= now);
        let objects = rows.map(|row| BundleObject { id: row.id, body: row.body, issuer_chain: row.issuer_chain });
        Ok(Bundle { objects: objects.collect() }.to_bytes()?)
    }

    /// Takes a bundle, all of it or nothing. Each document is authenticated by the core; one that has run out refuses the
    /// bundle, unless it is a revocation list and the operator lets stale lists count for some hours.
    pub(crate) async fn import(&self, bytes: &[u8]) -> Result<Imported, CarryError> {
        let now = clock::now();
        let bundle = Bundle::parse(bytes)?;
        let mut documents: Vec<(AuthenticDocument, Document)> = Vec::with_capacity(bundle.objects.len());
        let mut older: usize = 0;
        for object in bundle.objects {
            let id = object.id;
            let document = Document::from(object);
            match self.judge_imported(&id, &document, now) {
                Ok(authentic) => documents.push((authentic, document)),
                Err(DocumentError::Rollback) => older = older.saturating_add(1),
                Err(cause) => return Err(CarryError::Document { id, cause }),
            }
        }
        let imported = documents.len();
        self.shelf.put(documents, "bundle", now).await?;
        Ok(Imported { imported, older })
    }

    fn judge_imported(
        &self,
        id: &EndorsementId,
        document: &Document,
        now: Timestamp,
    ) -> Result<AuthenticDocument, DocumentError> {
        match (self.shelf.judge(id, document, now), self.settings.stale_crl) {
            (Err(DocumentError::Stale { until }), StaleCrl::WarnHours(hours))
                if id.is_crl() && now <= until.plus_seconds(i64::from(hours).saturating_mul(3600)) =>
            {
                // As it was while it was current.
                self.shelf.judge(id, document, until)
            }
            (outcome, _) => outcome,
        }
    }
}

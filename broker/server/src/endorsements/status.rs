//! What is held, for the operator.

use endorsements::SourceStatus;
use evidence_formats::{
    endorsement::{EndorsementId, Vendor},
    snp::ProductLine,
};
use serde::{Deserialize, Serialize};
use verifier::{Timestamp, x509::CrlNumber};

use super::Library;
use crate::{clock, store::StoreError};

/// Everything that is held, and where more comes from.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// The configured services.
    pub(crate) sources: Vec<SourceStatus>,
    /// Documents about many machines.
    pub(crate) documents: Vec<DocumentStatus>,
    /// Certificates of single chips, by product line.
    pub(crate) chips: Vec<ChipStatus>,
}

/// Whether a document can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It speaks for now.
    Current,
    /// It has run out.
    Stale,
}

/// One document.
#[derive(Debug, Serialize)]
pub(crate) struct DocumentStatus {
    id: EndorsementId,
    vendor: Vendor,
    state: State,
    issued_at: Timestamp,
    ends_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    fetched_at: Timestamp,
    source: String,
}

/// How many chips of a product line are known.
#[derive(Debug, Serialize)]
pub(crate) struct ChipStatus {
    product: ProductLine,
    certificates: usize,
    /// When the first of them ends.
    ends_at: Timestamp,
}

impl Library {
    /// What is held now.
    pub(crate) async fn status(&self) -> Result<Status, StoreError> {
        let now = clock::now();
        let documents = self.shelf.shared().into_iter().map(|held| {
            let document = &held.document;
            DocumentStatus {
                id: *document.id(),
                vendor: document.id().vendor(),
                state: if document.is_current_at(now) { State::Current } else { State::Stale },
                issued_at: document.from(),
                ends_at: document.until(),
                number: document.number().map(|number: CrlNumber| number.to_string()),
                fetched_at: held.fetched_at,
                source: held.source,
            }
        });
        let documents = documents.collect();
        let rows = self.shelf.all_received().await?;
        let chips = ProductLine::ALL.into_iter().filter_map(|product| {
            let of_product = |id: &EndorsementId| matches!(id, EndorsementId::Vcek { line, .. } if *line == product);
            let ends = rows.iter().filter(|row| of_product(&row.id)).map(|row| row.valid_until);
            let ends: Vec<Timestamp> = ends.collect();
            let ends_at = ends.iter().min().copied()?;
            Some(ChipStatus { product, certificates: ends.len(), ends_at })
        });
        Ok(Status { sources: self.provider.sources(), documents, chips: chips.collect() })
    }
}

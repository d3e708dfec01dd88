//! `countersign-agent serve`: identities for workloads, over the SPIFFE Workload API and as files.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod agent;
mod clients;
mod ends;
mod files;
mod leases;
mod manager;
mod tenants;

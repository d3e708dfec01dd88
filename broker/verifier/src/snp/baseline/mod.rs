//! Baseline rules for SEV-SNP.

mod settings;

use evidence_formats::snp::{TcbComponents, Vmpl};
pub use settings::{ChipPin, MinimumVersion, SnpBaseline, SnpBaselineError, TcbFloor, TcbFloors};

use super::{SnpClaims, VekKind};
use crate::{Claims, Unchecked, baseline::BaselineOutcome};

impl SnpBaseline {
    /// Judges an authenticated report by every rule; all violations are noted.
    pub(crate) fn judge(&self, claims: &Claims, snp: &SnpClaims, outcome: &mut BaselineOutcome) {
        self.judge_guest_policy(claims, snp, outcome);
        self.judge_requester(snp, outcome);
        self.judge_key(snp, outcome);
        self.judge_platform(snp, outcome);
        self.judge_contradictions(snp, outcome);
        self.judge_versions(snp, outcome);
        self.judge_tcb(snp, outcome);
        self.judge_launch(snp, outcome);
        self.init_data.judge("baseline.snp.init_data", claims, outcome);
    }

    /// POLICY: what the guest permits its host (AMD 56860, guest policy).
    fn judge_guest_policy(&self, claims: &Claims, snp: &SnpClaims, outcome: &mut BaselineOutcome) {
        let policy = &snp.policy;
        outcome.relaxable(
            !claims.debug,
            (self.allow_debug, "snp.allow_debug"),
            "baseline.snp.debug",
            "a guest that its host cannot debug",
            "debug allowed",
        );
        outcome.relaxable(
            !policy.migrate_ma,
            (self.allow_migration_agent, "snp.allow_migration_agent"),
            "baseline.snp.migrate_ma",
            "a guest that no migration agent may move",
            "migration agent allowed",
        );
        // REPORT_ID_MA is all ones without a migration agent.
        outcome.relaxable(
            snp.report_id_ma.as_bytes().iter().all(|byte| *byte == 0xff),
            (self.allow_migration_agent, "snp.allow_migration_agent"),
            "baseline.snp.migration_agent",
            "a guest without migration agent",
            snp.report_id_ma.to_string(),
        );
        outcome.relaxable(
            !policy.cxl_allow,
            (self.allow_cxl, "snp.allow_cxl"),
            "baseline.snp.cxl",
            "a guest that forbids CXL devices",
            "CXL allowed",
        );
        let wanted = [
            (self.forbid_smt, !policy.smt, "baseline.snp.smt", "a guest that forbids SMT"),
            (self.require_single_socket, policy.single_socket, "baseline.snp.single_socket", "a single-socket guest"),
            (
                self.require_aes_256_xts,
                policy.mem_aes_256_xts,
                "baseline.snp.aes_256_xts",
                "a guest that requires AES-256-XTS",
            ),
            (self.require_rapl_disabled, policy.rapl_dis, "baseline.snp.rapl", "a guest that requires RAPL to be off"),
            (
                self.require_ciphertext_hiding,
                policy.ciphertext_hiding_dram,
                "baseline.snp.ciphertext_hiding",
                "a guest that requires ciphertext hiding",
            ),
            (
                self.require_page_swap_disabled,
                policy.page_swap_disable,
                "baseline.snp.page_swap",
                "a guest that forbids page swapping",
            ),
        ];
        for (asked, holds, code, expected) in wanted {
            outcome.require(!asked || holds, code, expected, format!("guest policy {:#x}", policy.value));
        }
        if let Some(minimum) = self.minimum_abi {
            let actual = (policy.abi_major, policy.abi_minor);
            let text = |(major, minor)| format!("{major}.{minor}");
            outcome.require(
                actual >= minimum.major_minor(),
                "baseline.snp.abi",
                format!("guest policy ABI {} or higher", text(minimum.major_minor())),
                text(actual),
            );
        }
    }

    /// Who asked for the report, and on which chip.
    fn judge_requester(&self, snp: &SnpClaims, outcome: &mut BaselineOutcome) {
        match snp.vmpl {
            // Nothing relaxes this: the host chose REPORT_DATA, so the guest committed to nothing.
            Vmpl::Host => outcome.require(
                false,
                "baseline.snp.host_requested",
                "a report that the guest asked for",
                "one that the host asked for",
            ),
            Vmpl::Guest(level) => outcome.relaxable(
                level == 0,
                (self.vmpls.contains(&level), "snp.vmpls"),
                "baseline.snp.vmpl",
                format!("VMPL {}", list(&self.vmpls)),
                level.to_string(),
            ),
        }
        if snp.vek.kind == VekKind::Vcek {
            outcome.relaxable(
                !snp.chip_id_masked,
                (self.allow_masked_chip_id, "snp.allow_masked_chip_id"),
                "baseline.snp.chip_id_masked",
                "a chip id that binds the report to one chip",
                "a masked chip id",
            );
        }
        let used = snp.chip_id.as_bytes().get(..snp.product.chip_id_length()).unwrap_or_default();
        // A chip that is denied stays denied when the key is a fleet's; one that is allowed must be proven.
        let denied = self.denied_chips.iter().any(|chip| chip.bytes() == used);
        outcome.require(!denied, "baseline.snp.chip_denied", "a chip that is not denied", hex::encode(used));
        if !self.allowed_chips.is_empty() {
            let allowed = snp.chip().is_some() && self.allowed_chips.iter().any(|chip| chip.bytes() == used);
            let actual = snp.chip().unwrap_or_else(|| "no proven chip id".to_owned());
            outcome.require(allowed, "baseline.snp.chip_not_allowed", "a chip of the allowed ones", actual);
        }
    }

    /// VCEK or VLEK: with a VLEK the cloud provider, not the chip, is the identity.
    fn judge_key(&self, snp: &SnpClaims, outcome: &mut BaselineOutcome) {
        let Some(csp) = &snp.vek.csp_id else { return };
        outcome.relaxable(
            false,
            (self.allow_vlek, "snp.allow_vlek"),
            "baseline.snp.vlek",
            "a report signed by a chip's own key (VCEK)",
            format!("one signed by the VLEK of {csp}"),
        );
        if self.allow_vlek {
            let pinned = self.csp_ids.contains(csp);
            outcome.require(pinned, "baseline.snp.csp_id", format!("one of {}", list(&self.csp_ids)), csp.clone());
        }
    }

    /// PLATFORM_INFO. Bits without a name are for a policy to judge.
    fn judge_platform(&self, snp: &SnpClaims, outcome: &mut BaselineOutcome) {
        let info = &snp.platform_info;
        let wanted = [
            (self.forbid_platform_smt, !info.smt_en, "baseline.snp.platform_smt", "a platform without SMT"),
            (self.forbid_tio, !info.tio_en, "baseline.snp.platform_tio", "a platform without trusted I/O"),
            (self.require_tsme, info.tsme_en, "baseline.snp.platform_tsme", "a platform with TSME"),
            (self.require_ecc, info.ecc_en, "baseline.snp.platform_ecc", "a platform with ECC memory"),
            (
                self.require_alias_check,
                info.alias_check_complete,
                "baseline.snp.platform_alias_check",
                "a platform that checked its memory for aliases",
            ),
            (self.require_rapl_disabled, info.rapl_dis, "baseline.snp.platform_rapl", "a platform with RAPL off"),
            (
                self.require_ciphertext_hiding,
                info.ciphertext_hiding_dram_en,
                "baseline.snp.platform_ciphertext_hiding",
                "a platform with ciphertext hiding",
            ),
        ];
        for (asked, holds, code, expected) in wanted {
            outcome.require(!asked || holds, code, expected, format!("platform info {:#x}", info.value));
        }
    }

    /// Firmware never runs a guest on a platform that its policy forbids.
    fn judge_contradictions(&self, snp: &SnpClaims, outcome: &mut BaselineOutcome) {
        let (policy, info) = (&snp.policy, &snp.platform_info);
        let contradictions = [
            (!policy.smt && info.smt_en, "SMT on, which the guest forbids"),
            (policy.rapl_dis && !info.rapl_dis, "RAPL on, which the guest forbids"),
            (
                policy.ciphertext_hiding_dram && !info.ciphertext_hiding_dram_en,
                "no ciphertext hiding, which the guest requires",
            ),
        ];
        for (contradicts, actual) in contradictions {
            outcome.relaxable(
                !contradicts,
                (self.allow_policy_contradiction, "snp.allow_policy_contradiction"),
                "baseline.snp.policy_contradiction",
                "a platform that keeps the guest's policy",
                actual,
            );
        }
    }

    /// Firmware versions and mitigations.
    fn judge_versions(&self, snp: &SnpClaims, outcome: &mut BaselineOutcome) {
        let versions = [
            (self.minimum_current_firmware, snp.current_version, "baseline.snp.firmware_current", "running"),
            (self.minimum_committed_firmware, snp.committed_version, "baseline.snp.firmware_committed", "committed"),
        ];
        for (minimum, actual, code, which) in versions {
            let Some(minimum) = minimum else { continue };
            let expected = format!("{which} firmware {} or later", minimum.0);
            outcome.require(actual >= minimum.0, code, expected, actual.to_string());
        }
        let mitigations = [
            (self.required_launch_mitigations, snp.launch_mit_vector, "baseline.snp.mitigation_launch"),
            (self.required_current_mitigations, snp.current_mit_vector, "baseline.snp.mitigation_current"),
        ];
        for (required, actual, code) in mitigations {
            // Before version 5 reports have no vector: what is not said is not mitigated.
            let holds = actual.unwrap_or(0) & required == required;
            let text = actual.map_or_else(|| "no mitigation vector".to_owned(), |vector| format!("{vector:#x}"));
            outcome.require(holds, code, format!("mitigations {required:#x}"), text);
        }
    }

    /// TCB floors of this product line, by component.
    fn judge_tcb(&self, snp: &SnpClaims, outcome: &mut BaselineOutcome) {
        if self.forbid_provisional_firmware {
            let committed = snp.tcb.committed == snp.tcb.current && snp.committed_version == snp.current_version;
            let actual = format!("committed {} of current {}", snp.tcb.committed, snp.tcb.current);
            outcome.require(committed, "baseline.snp.provisional_firmware", "committed firmware", actual);
        }
        let floors = self.minimum_tcb.get(&snp.product).copied().unwrap_or_default();
        let versions: [(Option<TcbFloor>, &TcbComponents, &str, &str); 4] = [
            (floors.reported, &snp.tcb.reported, "baseline.snp.tcb_reported", "reported"),
            (floors.committed, &snp.tcb.committed, "baseline.snp.tcb_committed", "committed"),
            (floors.launch, &snp.tcb.launch, "baseline.snp.tcb_launch", "launch"),
            (floors.current, &snp.tcb.current, "baseline.snp.tcb_current", "current"),
        ];
        for (floor, actual, code, which) in &versions {
            let Some(floor) = floor.map(TcbComponents::from) else { continue };
            outcome.require(
                actual.at_least(&floor),
                code,
                format!("{which} TCB of at least {floor}"),
                actual.to_string(),
            );
        }
        if versions.iter().all(|(floor, ..)| floor.is_none()) {
            let reason = "no minimum TCB is configured for this product line";
            outcome.unchecked.push(Unchecked { what: "tcb_floor", reason });
        }
    }

    /// Who launched the guest. Without an enforced ID block the host chose GUEST_SVN, FAMILY_ID and IMAGE_ID, so rules
    /// about them need one.
    fn judge_launch(&self, snp: &SnpClaims, outcome: &mut BaselineOutcome) {
        let asks_keys = self.require_author_key || !self.id_keys.is_empty() || !self.author_keys.is_empty();
        let enforced = snp.id_block_enforced();
        outcome.require(
            !(self.require_id_block || asks_keys) || enforced,
            "baseline.snp.id_block",
            "an enforced ID block",
            "none",
        );
        if let Some(minimum) = self.minimum_guest_svn {
            let holds = enforced && snp.guest_svn >= minimum;
            outcome.require(
                holds,
                "baseline.snp.guest_svn",
                format!("guest SVN {minimum} or higher in an enforced ID block"),
                snp.guest_svn.to_string(),
            );
        }
        if !self.family_ids.is_empty() {
            let holds = enforced && self.family_ids.contains(&snp.family_id);
            outcome.require(holds, "baseline.snp.family_id", list(&self.family_ids), snp.family_id.to_string());
        }
        if !self.image_ids.is_empty() {
            let holds = enforced && self.image_ids.contains(&snp.image_id);
            outcome.require(holds, "baseline.snp.image_id", list(&self.image_ids), snp.image_id.to_string());
        }
        if asks_keys {
            self.judge_launch_keys(snp, outcome);
        }
    }

    /// The author key must be trusted when it is required; otherwise a trusted author vouches for any ID key. A zero
    /// digest matches nothing.
    fn judge_launch_keys(&self, snp: &SnpClaims, outcome: &mut BaselineOutcome) {
        let author = snp.author_key_digest;
        let by_author = snp.key_info.author_key_en && !author.is_zero() && self.author_keys.contains(&author);
        if self.require_author_key {
            let actual = if snp.key_info.author_key_en { author.to_string() } else { "no author key".to_owned() };
            outcome.require(by_author, "baseline.snp.author_key", "a trusted author key", actual);
        } else {
            let by_id_key = !snp.id_key_digest.is_zero() && self.id_keys.contains(&snp.id_key_digest);
            let actual = snp.id_key_digest.to_string();
            outcome.require(by_id_key || by_author, "baseline.snp.id_key", "a trusted ID key or author", actual);
        }
    }
}

fn list(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

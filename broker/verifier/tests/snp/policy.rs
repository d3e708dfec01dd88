//! The vectors' policy documents, in terms of our baseline and reference values.

use serde_json::Value;
use verifier::{baseline::Baseline, snp::SnpClaims};

/// Our configuration for a vector's policy. Settings that only repeat a strict default have no line.
pub(crate) fn baseline(policy: &Value) -> Baseline {
    let mut lines = vec!["[baseline.snp]".to_owned()];
    let mut set = |name: &str, value: String| lines.push(format!("{name} = {value}"));
    let mut floors = Vec::new();
    for (name, value) in policy.as_object().into_iter().flatten() {
        match name.as_str() {
            "allowed_csp_ids" => {
                set("allow_vlek", "true".to_owned());
                set("csp_ids", value.to_string());
            }
            "allow_smt" => set("forbid_smt", "true".to_owned()),
            "allow_platform_smt" => set("forbid_platform_smt", "true".to_owned()),
            "allow_tio" => set("forbid_tio", "true".to_owned()),
            "allow_provisional_firmware" => set("forbid_provisional_firmware", "true".to_owned()),
            "require_single_socket"
            | "require_ciphertext_hiding"
            | "require_tsme"
            | "require_ecc"
            | "require_alias_check"
            | "require_id_block"
            | "require_author_key" => set(name, value.to_string()),
            "require_mem_aes_256_xts" => set("require_aes_256_xts", value.to_string()),
            "require_rapl_dis" => set("require_rapl_disabled", value.to_string()),
            "require_page_swap_disable" => set("require_page_swap_disabled", value.to_string()),
            "vmpl" => set("vmpls", value.to_string()),
            "allowed_chip_ids" => set("allowed_chips", value.to_string()),
            "min_guest_svn" => set("minimum_guest_svn", value.to_string()),
            "min_abi" => set("minimum_abi", version(value)),
            "min_fw_version" => set("minimum_current_firmware", version(value)),
            "min_committed_fw_version" => set("minimum_committed_firmware", version(value)),
            "min_launch_mit_vector" => set("required_launch_mitigations", value.to_string()),
            "min_current_mit_vector" => set("required_current_mitigations", value.to_string()),
            "family_id" => set("family_ids", format!("[{value}]")),
            "image_id" => set("image_ids", format!("[{value}]")),
            "trusted_id_keys" => set("id_keys", value.to_string()),
            "trusted_author_keys" => set("author_keys", value.to_string()),
            "min_reported_tcb" => floors.push(floor("reported", value)),
            "min_committed_tcb" => floors.push(floor("committed", value)),
            "min_launch_tcb" => floors.push(floor("launch", value)),
            // Strict defaults of ours, or judged by authentication and reference values.
            "allowed_signing_keys"
            | "allow_cxl"
            | "allow_masked_chip_id"
            | "require_no_ma"
            | "revocation"
            | "report_data"
            | "measurements"
            | "host_data" => {}
            other => panic!("no translation for {other}"),
        }
    }
    if !floors.is_empty() {
        lines.push("[baseline.snp.minimum_tcb.milan]".to_owned());
        lines.extend(floors);
    }
    Baseline::from_toml(&lines.join("\n")).unwrap()
}

fn version(value: &Value) -> String {
    format!("\"{}.{}\"", value[0], value[1])
}

fn floor(which: &str, value: &Value) -> String {
    let [bl, tee, snp, ucode] = ["bl", "tee", "snp", "ucode"].map(|name| value[name].to_string());
    format!("{which} = {{ bootloader = {bl}, tee = {tee}, snp = {snp}, microcode = {ucode} }}")
}

/// What reference values say: measurement and host data are compared whole.
pub(crate) fn references(policy: &Value, snp: &SnpClaims) -> Vec<String> {
    let mut codes = Vec::new();
    if let Some(measurements) = policy["measurements"].as_array()
        && !measurements.contains(&Value::from(snp.measurement.to_string()))
    {
        codes.push("reference.measurement".to_owned());
    }
    if let Some(host_data) = policy["host_data"].as_str()
        && host_data != snp.host_data.to_string()
    {
        codes.push("reference.host_data".to_owned());
    }
    codes
}

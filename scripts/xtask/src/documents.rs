//! What documents point at must exist.

use anyhow::{Context, Result};
use cargo_metadata::camino::{Utf8Path, Utf8PathBuf};

use crate::Finding;

pub(crate) fn findings(root: &Utf8Path, files: &[Utf8PathBuf]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.extension() == Some("md")) {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| format!("reading {file}"))?;
        let folder = root.join(file.parent().unwrap_or_else(|| Utf8Path::new("")));
        for target in link_targets(&text) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") && !path.starts_with("mailto:") && !folder.join(path).exists()
            {
                findings.push(Finding::new(file.as_str(), format!("a file behind the link {target}")));
            }
        }
    }
    Ok(findings)
}

/// Targets of inline Markdown links, `[text](target)`.
fn link_targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

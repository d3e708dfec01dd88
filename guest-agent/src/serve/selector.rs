//! Which process may have what: selectors, all of which must match.

use std::path::PathBuf;

use serde::Deserialize;

/// What a process must be. Of each list one must match; a list that is empty asks nothing; without any nothing matches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selectors {
    pub(crate) uids: Vec<u32>,
    pub(crate) gids: Vec<u32>,
    pub(crate) exes: Vec<PathBuf>,
    pub(crate) digests: Vec<[u8; 32]>,
    pub(crate) cgroups: Vec<String>,
    pub(crate) units: Vec<String>,
}

/// The same as it stands in the settings file: each a value or a list of values.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SelectorSection {
    uid: OneOrMany<u32>,
    gid: OneOrMany<u32>,
    exe: OneOrMany<PathBuf>,
    exe_sha256: OneOrMany<String>,
    cgroup: OneOrMany<String>,
    unit: OneOrMany<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        }
    }
}

/// What is known of a process. What could not be found out matches nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// By the kernel, of the moment of its connection.
    pub(crate) uid: u32,
    /// The same.
    pub(crate) gid: u32,
    /// Its program, as a path that means the same file here.
    pub(crate) exe: Option<PathBuf>,
    /// SHA-256 of its program.
    pub(crate) digest: Option<[u8; 32]>,
    /// Its control group, from the root of the hierarchy.
    pub(crate) cgroup: Option<String>,
}

impl Selectors {
    /// From the settings; what is wrong with them otherwise.
    pub(crate) fn new(section: SelectorSection) -> Result<Self, &'static str> {
        let digests = section.exe_sha256.into_vec().iter().map(|text| digest(text)).collect::<Option<_>>();
        let selectors = Self {
            uids: section.uid.into_vec(),
            gids: section.gid.into_vec(),
            exes: section.exe.into_vec(),
            digests: digests.ok_or("exe_sha256 as 64 hex digits")?,
            cgroups: section.cgroup.into_vec(),
            units: section.unit.into_vec(),
        };
        if selectors == Self::default() {
            return Err("at least one selector: uid, gid, exe, exe_sha256, cgroup or unit");
        }
        if !selectors.exes.iter().all(|path| path.is_absolute()) {
            return Err("exe as an absolute path");
        }
        let absolute = |path: &String| path.starts_with('/') && path.len() > 1 && !path.ends_with('/');
        if !selectors.cgroups.iter().all(absolute) {
            return Err("cgroup as a path from the root of the hierarchy");
        }
        let unit = |name: &String| (name.ends_with(".service") || name.ends_with(".scope")) && !name.contains('/');
        if !selectors.units.iter().all(unit) {
            return Err("unit as the name of a .service or .scope");
        }
        Ok(selectors)
    }

    /// Whether user and group match, which costs nothing to know.
    pub(crate) fn match_user(&self, uid: u32, gid: u32) -> bool {
        among(&self.uids, |wanted| *wanted == uid) && among(&self.gids, |wanted| *wanted == gid)
    }

    /// Whether anything but user and group is asked for.
    pub(crate) fn ask_for_process(&self) -> bool {
        !(self.exes.is_empty() && self.digests.is_empty() && self.cgroups.is_empty() && self.units.is_empty())
    }

    /// Whether the digest of the program is asked for.
    pub(crate) fn ask_for_digest(&self) -> bool {
        !self.digests.is_empty()
    }

    /// Whether a process is what they say.
    pub(crate) fn match_process(&self, facts: &Facts) -> bool {
        let (exe, digest) = (facts.exe.as_ref(), facts.digest.as_ref());
        let cgroup = facts.cgroup.as_deref();
        let unit = cgroup.and_then(unit);
        *self != Self::default()
            && self.match_user(facts.uid, facts.gid)
            && among(&self.exes, |wanted| exe == Some(wanted))
            && among(&self.digests, |wanted| digest == Some(wanted))
            && among(&self.cgroups, |wanted| cgroup.is_some_and(|path| is_within(path, wanted)))
            && among(&self.units, |wanted| unit == Some(wanted.as_str()))
    }
}

fn among<T>(wanted: &[T], matches: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(matches)
}

fn digest(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}

/// Whether `path` is `group` or below it.
fn is_within(path: &str, group: &str) -> bool {
    path.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The unit of the system's own manager that a control group belongs to: the outermost service or scope, below slices only.
/// What a user's manager runs is inside of `user@UID.service`, whatever it calls itself.
fn unit(cgroup: &str) -> Option<&str> {
    let mut parts = cgroup.strip_prefix('/')?.split('/').skip_while(|part| part.ends_with(".slice"));
    parts.next().filter(|part| part.ends_with(".service") || part.ends_with(".scope"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn selectors(toml: &str) -> Result<Selectors, &'static str> {
        Selectors::new(toml::from_str(toml).unwrap())
    }

    fn web() -> Facts {
        Facts {
            uid: 1000,
            gid: 100,
            exe: Some("/usr/bin/web".into()),
            digest: Some([7; 32]),
            cgroup: Some("/system.slice/web.service".into()),
        }
    }

    #[test]
    fn every_selector_must_match_and_one_of_each_list() {
        let digest = hex::encode([7; 32]);
        for matching in [
            "uid = 1000",
            "uid = [0, 1000]\ngid = 100",
            "exe = \"/usr/bin/web\"",
            "cgroup = \"/system.slice\"",
            "cgroup = \"/system.slice/web.service\"\nunit = [\"web.service\", \"db.service\"]",
            &format!("exe_sha256 = \"{digest}\"\nuid = 1000"),
        ] {
            assert!(selectors(matching).unwrap().match_process(&web()), "{matching}");
        }
        for other in [
            "uid = 0",
            "uid = 1000\ngid = 101",
            "uid = 1000\nexe = \"/usr/bin/other\"",
            "cgroup = \"/system.slice/web\"",
            "unit = \"db.service\"",
            &format!("exe_sha256 = \"{}\"", hex::encode([8; 32])),
        ] {
            assert!(!selectors(other).unwrap().match_process(&web()), "{other}");
        }
    }

    #[test]
    fn what_is_not_known_matches_nothing() {
        let unknown = Facts { uid: 1000, gid: 100, ..Facts::default() };
        let digest = format!("exe_sha256 = \"{}\"", hex::encode([0; 32]));
        for selector in ["exe = \"/usr/bin/web\"", "cgroup = \"/system.slice\"", "unit = \"web.service\"", &digest] {
            assert!(!selectors(selector).unwrap().match_process(&unknown), "{selector}");
        }
        assert!(!Selectors::default().match_process(&web()), "no selector is no permission");
    }

    #[test]
    fn selectors_that_say_nothing_are_refused() {
        for wrong in [
            "",
            "uid = []",
            "exe = \"web\"",
            "exe_sha256 = \"07\"",
            "cgroup = \"/\"",
            "cgroup = \"system.slice\"",
            "unit = \"web\"",
            "unit = \"a/web.service\"",
        ] {
            assert!(selectors(wrong).is_err(), "{wrong}");
        }
        assert!(toml::from_str::<SelectorSection>("user = \"root\"").is_err());
    }

    #[test]
    fn a_users_own_unit_is_not_the_systems() {
        assert_eq!(unit("/system.slice/web.service"), Some("web.service"));
        assert_eq!(unit("/system.slice/web.service/worker"), Some("web.service"));
        assert_eq!(unit("/a.slice/a-b.slice/run.scope"), Some("run.scope"));
        assert_eq!(
            unit("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service"),
            Some("user@1000.service")
        );
        for none in ["/", "/init", "web.service", "/../web.service", "/kubepods/pod/web.service"] {
            assert_eq!(unit(none), None, "{none}");
        }
    }
}

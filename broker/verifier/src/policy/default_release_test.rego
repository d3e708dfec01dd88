# Tests of the built-in release policy: `countersign policy test`.
package countersign.release_test

import data.countersign.release

good := {
	"result": {"status": "affirming", "workloads": ["web"], "relaxed": [], "unchecked": []},
	"claims": {"platform": "bare"},
	"grant": {"name": "disk-key", "type": "secret", "workloads": ["web"]},
	"lease": {"requested_ttl": 900, "renewal": false},
	"tenant": "default",
	"now": "2026-11-22T00:00:00Z",
}

patched(patch) := object.union(good, patch)

test_good_guest if {
	release.allow with input as good
	count(release.deny) == 0 with input as good
	release.max_ttl <= 3600 with input as good
}

test_nothing_gets_nothing if not release.allow with input as {}

test_other_workload if not release.allow with input as patched({"grant": {"workloads": ["db"]}})

test_simulated if not release.allow with input as patched({"claims": {"platform": "simulated"}})

test_warning_that_nobody_allowed if not release.allow with input as patched({"result": {"status": "warning"}})

test_warning_that_was_allowed if {
	release.allow with input as patched({"result": {"status": "warning", "relaxed": ["warning.hardware"]}})
}

test_contraindicated if {
	not release.allow with input as patched({"result": {"status": "contraindicated", "relaxed": ["warning.hardware"]}})
}

test_every_required_check if {
	every check in release.required_checks {
		not release.allow with input as patched({"result": {"unchecked": [check]}})
	}
}

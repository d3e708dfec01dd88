# Tests of the built-in appraisal policy: `countersign policy test`.
package countersign.appraisal_test

import data.countersign.appraisal

good := {
	"claims": {
		"hwmodel": "amd-genoa",
		"platform": "bare",
		"measurement": {"launch": "9f"},
		"tcb": {"versions": {}, "advisories": []},
		"debug": false,
		"instance": "11",
		"unchecked": [],
	},
	"baseline": {"violations": [], "relaxed": [], "unchecked": []},
	"reference_values": {
		"configured": true,
		"matched": [{"id": "web-prod", "version": 4, "workload": "web", "pinned": ["launch"]}],
		"paravisor": [],
		"near_misses": [],
	},
	"now": "2026-11-22T00:00:00Z",
}

patched(patch) := object.union(good, patch)

test_good_guest if {
	appraisal.trust_vector == {
		"instance-identity": 2,
		"configuration": 2,
		"executables": 3,
		"file-system": 0,
		"hardware": 2,
		"runtime-opaque": 2,
		"storage-opaque": 0,
		"sourced-data": 0,
	} with input as good
}

test_nothing_is_affirmed_of_nothing if {
	appraisal.trust_vector.configuration == 96 with input as {}
	appraisal.trust_vector.executables == 0 with input as {}
	appraisal.trust_vector.hardware == 97 with input as {}
	appraisal.trust_vector["runtime-opaque"] == 96 with input as {}
}

test_debug_is_visible_memory if {
	appraisal.trust_vector["runtime-opaque"] == 96 with input as patched({"claims": {"debug": true}})
}

test_relaxed_baseline_is_not_an_approved_configuration if {
	appraisal.trust_vector.configuration == 3 with input as patched({"baseline": {"relaxed": ["snp.allow_smt"]}})
}

test_broken_baseline_is_contraindicated if {
	violation := {"code": "baseline.snp.vmpl", "expected": "0", "actual": "1"}
	broken := patched({"baseline": {"violations": [violation]}})
	appraisal.trust_vector.configuration == 96 with input as broken
	"baseline: baseline.snp.vmpl: expected 0, found 1" in appraisal.reasons with input as broken
}

test_unknown_code_is_a_warning if {
	unknown := patched({"reference_values": {"matched": []}})
	appraisal.trust_vector.executables == 33 with input as unknown
	"the measurements are in no reference set" in appraisal.reasons with input as unknown
}

test_run_time_code if {
	matched := [{"id": "web-prod", "version": 4, "workload": "web", "pinned": ["launch", "event.kernel"]}]
	appraisal.trust_vector.executables == 2 with input as patched({"reference_values": {"matched": matched}})
}

test_a_tpm_alone_hides_no_memory if {
	tpm := json.remove(good, ["claims/measurement/launch"])
	appraisal.trust_vector["runtime-opaque"] == 0 with input as tpm
}

test_known_vulnerability_is_a_warning if {
	appraisal.trust_vector.hardware == 32 with input as patched({"claims": {"tcb": {"status": "OutOfDate"}}})
}

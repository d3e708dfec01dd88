# Built-in release policy of Countersign: what affirmed evidence may get. What it does not allow is denied.
package countersign.release

default allow := false

allow if {
	count(deny) == 0
	acceptable
	named_workload
}

acceptable if input.result.status == "affirming"

# Warnings that the operator allowed by name.
acceptable if {
	input.result.status == "warning"
	some relaxed in input.result.relaxed
	startswith(relaxed, "warning.")
}

# Seconds. The broker cuts the lease to this, whatever the guest asks for.
max_ttl := 900

# Without these checks the evidence may be old, of another guest, of a revoked chip, or of unknown code.
required_checks := {
	"appraisal_policy",
	"binding",
	"nonce",
	"paravisor_measurement",
	"reference_values",
	"report_data",
	"revocation",
	"user_data",
}

named_workload if {
	some workload in input.grant.workloads
	workload in input.result.workloads
}

deny contains sprintf("the attestation result is %s, not affirming", [input.result.status]) if not acceptable

deny contains sprintf("the grant %s is not for the workload that was attested", [input.grant.name]) if not named_workload

deny contains "the platform is simulated" if input.claims.platform == "simulated"

deny contains sprintf("the check %s did not run", [check]) if {
	some check in input.result.unchecked
	check in required_checks
}

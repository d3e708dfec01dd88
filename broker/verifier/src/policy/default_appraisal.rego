# Built-in appraisal policy of Countersign: authenticated claims to AR4SI trustworthiness values.
#
# Signature, chain, revocation, freshness and baseline were judged before this runs. Values follow
# draft-ietf-rats-ar4si section 2.3.3; 0 makes no claim.
package countersign.appraisal

trust_vector := {
	"instance-identity": instance_identity,
	"configuration": configuration,
	"executables": executables,
	"file-system": file_system,
	"hardware": hardware,
	"runtime-opaque": runtime_opaque,
	"storage-opaque": 0,
	"sourced-data": sourced_data,
}

# The evidence names the one chip or platform that signed it. Fleet keys (VLEK) and masked ids make no claim.
default instance_identity := 0

instance_identity := 2 if input.claims.instance

# Approved as it stands; 3 when the operator relaxed a baseline rule by name; never when a rule is broken.
default configuration := 96

configuration := 2 if {
	baseline_passed
	count(input.baseline.relaxed) == 0
}

configuration := 3 if {
	baseline_passed
	count(input.baseline.relaxed) > 0
}

# Boot and run-time code is in a reference set, boot code alone is, or neither. Nothing is claimed without reference values.
default executables := 33

executables := 0 if not input.reference_values.configured

executables := 2 if {
	some match in input.reference_values.matched
	pins_run_time(match)
}

executables := 3 if {
	count(input.reference_values.matched) > 0
	not any_pins_run_time
}

# A reference set pins the root file system through the event log.
default file_system := 0

file_system := 2 if {
	some match in input.reference_values.matched
	some pin in match.pinned
	pin in {"event.rootfs", "event.verity"}
}

# The vendor vouches for the hardware; simulated hardware makes no claim.
default hardware := 97

hardware := 0 if simulated

hardware := 2 if {
	not simulated
	up_to_date
}

hardware := 32 if {
	tcb_status
	not simulated
	not up_to_date
	not revoked
}

hardware := 96 if {
	not simulated
	revoked
}

# Memory is encrypted against the host, unless the host may debug the guest or nothing protects the memory at all.
default runtime_opaque := 96

runtime_opaque := 2 if {
	input.claims.debug == false
	confidential
	not simulated
}

runtime_opaque := 0 if {
	input.claims.debug == false
	not confidential
}

runtime_opaque := 0 if {
	input.claims.debug == false
	simulated
}

# Launch data of the host is what a reference set expects.
default sourced_data := 0

sourced_data := 2 if {
	some match in input.reference_values.matched
	"host_data" in match.pinned
}

baseline_passed if count(input.baseline.violations) == 0

any_pins_run_time if {
	some match in input.reference_values.matched
	pins_run_time(match)
}

pins_run_time(match) if {
	some pin in match.pinned
	startswith(pin, "runtime.")
}

pins_run_time(match) if {
	some pin in match.pinned
	startswith(pin, "event.")
}

simulated if input.claims.platform == "simulated"

# Memory encryption exists where a processor measured the launch. A TPM alone has none.
confidential if input.claims.measurement.launch

tcb_status := object.get(input.claims.tcb, "status", "UpToDate")

up_to_date if {
	tcb_status == "UpToDate"
	count(input.claims.tcb.advisories) == 0
}

revoked if tcb_status == "Revoked"

reasons contains sprintf("baseline: %s: expected %s, found %s", [violation.code, violation.expected, violation.actual]) if {
	some violation in input.baseline.violations
}

reasons contains "the measurements are in no reference set" if executables == 33

reasons contains sprintf("the TCB status is %s", [tcb_status]) if {
	not simulated
	tcb_status != "UpToDate"
}

reasons contains sprintf("advisories apply: %s", [concat(", ", input.claims.tcb.advisories)]) if {
	not simulated
	count(input.claims.tcb.advisories) > 0
}

reasons contains "the host may debug the guest" if input.claims.debug

-- `leases_by_guest_and_kind` begins with the same column: one index less to write for each lease.
DROP INDEX leases_by_guest;

//! An agent whose broker has a path: a tenant.

use std::fs;

use e2e::{
    broker::{Broker, Setup},
    guest::{Guest, can_mount},
    process::Said,
    tenant::Tenant,
};

use crate::agent::{Agent, entry, until};

#[test]
fn an_agent_of_a_tenant_serves_the_identities_of_that_tenant_while_its_lease_holds() {
    if !can_mount() {
        return;
    }
    let more = "[identity]\ntrust_domain = \"default.example\"\n[[tenant]]\nname = \"acme\"\n\
                [tenant.identity]\ntrust_domain = \"acme.example\"\n[[tenant.identity.svid]]\nname = \"web\"\n\
                workloads = [\"web\"]\naudiences = [\"db.example\"]\n";
    let broker = Broker::start(&Setup { more, ..Setup::default() }).unwrap();
    let tenant = Tenant::of(&broker, "acme").unwrap();
    tenant.knows_the_guest().unwrap();
    tenant.releases_to_simulated().unwrap();
    let guest = Guest::start("").unwrap();
    let settings = guest.path("agent.toml");
    let agent = Agent::start_in(guest, &broker, &entry(), |_| {
        let text = fs::read_to_string(&settings).unwrap();
        fs::write(&settings, text.replace(&broker.url(), tenant.url())).unwrap();
    });
    assert_eq!(agent.wait().spiffe_id().to_string(), "spiffe://acme.example/workload/web");
    let token = agent.with(async |client| client.fetch_jwt_svid(["db.example"], None).await).unwrap();
    let validate = || agent.with(async |client| client.validate_jwt_token("db.example", token.token()).await);
    // The status list is asked for below the tenant's path.
    validate().unwrap();
    let mut revoke = tenant.admin(&["revoke", "workload", "web", "--reason", "drill"]).unwrap();
    Said::by(&mut revoke).unwrap().done().unwrap();
    until("a refusal of the token", || {
        validate().is_err_and(|error| format!("{error:?}").contains("whose lease holds"))
    });
}

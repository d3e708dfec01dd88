//! The broker is killed at random points, a hundred times: in the end no role is left that no lease stands on.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

use e2e::{
    broker::{Broker, Setup},
    http::Client,
    postgres::Postgres,
    random::Seeded,
};
use serde_json::json;

use crate::{
    guest::Guest,
    setup::{server, wish, within},
};

const KILLS: u32 = 100;
/// Guests at once.
const GUESTS: u64 = 4;
/// Longest wait for guests to get somewhere.
const PATIENCE: Duration = Duration::from_secs(3);
const BUDGET: Duration = Duration::from_secs(400);

#[test]
fn a_hundred_kills_leave_no_orphan_role() {
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    let postgres = Postgres::start().unwrap();
    // Slow to make, so that many kills fall between "role made" and "lease recorded"; slow to drop for the same reason.
    let slow = |name: &str, entry: &str, ttl: u32| {
        server(&postgres, name, entry, ttl, "SELECT pg_sleep(0.1) /* {role} */")
            .replace("\"DROP OWNED BY {role}\"", "\"DROP OWNED BY {role}\", \"SELECT pg_sleep(0.05)\"")
    };
    let more = slow("orders", "orders-rw", 900) + &slow("orders-two", "orders-short", 1);
    let broker = Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap();
    let client = broker.client().unwrap();
    let broker = Arc::new(Mutex::new(broker));
    let stop = Arc::new(AtomicBool::new(false));
    let granted = Arc::new(AtomicU32::new(0));
    let guests: Vec<_> = (0..GUESTS)
        .map(|number| {
            let (client, stop, granted) = (client.clone(), Arc::clone(&stop), Arc::clone(&granted));
            spawn(move || live(&client, &stop, &granted, Seeded::new(seed ^ (number << 32) ^ 1)))
        })
        .collect();

    let (mut random, until) = (Seeded::new(seed), Instant::now() + BUDGET);
    for kill in 0..KILLS {
        assert!(Instant::now() < until, "{kill} kills in the time");
        if random.below(2) == 0 {
            // In the middle of many, however slow this machine is.
            let (seen, began) = (granted.load(Ordering::Relaxed), Instant::now());
            while granted.load(Ordering::Relaxed) < seen + 2 && began.elapsed() < PATIENCE {
                sleep(Duration::from_millis(1));
            }
        }
        sleep(Duration::from_millis(random.below(250)));
        broker.lock().unwrap().crash_and_restart().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for guest in guests {
        guest.join().unwrap();
    }
    let broker = Arc::into_inner(broker).unwrap().into_inner().unwrap();
    let admin = broker.administrator().unwrap();
    let everything = json!({"kind": "workload", "value": "web", "reason": "the end of the test"});
    assert_eq!(admin.send("POST", "/v1/admin/revocations", Some(&everything)).unwrap().status, 201);
    // A role that was made for nobody stays for 30 seconds at most.
    let took = within(Duration::from_secs(60), "no role is left", || postgres.roles().unwrap().is_empty());
    // A statement that was under way when the broker was killed would show itself by now.
    sleep(Duration::from_secs(1));
    assert_eq!(postgres.roles().unwrap(), Vec::<String>::new());

    let log = broker.log().unwrap();
    let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    let dropped = count("database role dropped");
    let unsettled =
        log.lines().filter(|line| line.contains("database role dropped") && line.contains("settled\":false"));
    let unsettled = unsettled.count();
    let granted = granted.load(Ordering::Relaxed);
    eprintln!(
        "{KILLS} kills, {granted} roles granted, {} made, {dropped} dropped ({unsettled} that no lease stood on), all gone {took:?} after the end",
        count("database role made")
    );
    assert!(granted > KILLS / 2, "expected many roles to be granted: {granted}");
    assert!(unsettled > 0, "expected kills between making a role and recording its lease");
}

/// Attests, renews and gives back until `stop`, whatever the broker does.
fn live(client: &Client, stop: &AtomicBool, granted: &AtomicU32, mut random: Seeded) {
    let mut guest = Guest::new(client.clone());
    while !stop.load(Ordering::Relaxed) {
        if client.challenge().is_err() {
            sleep(Duration::from_millis(5));
            continue;
        }
        let name = if random.below(2) == 0 { "orders-rw" } else { "orders-short" };
        // Whatever fails here failed because the broker was killed.
        let _killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let answer = guest.attest(wish(name));
            let Some(lease) = answer["grants"][0]["lease"]["id"].as_str().map(str::to_owned) else { return };
            granted.fetch_add(1, Ordering::Relaxed);
            match random.below(4) {
                0 => drop(guest.renew(&lease, json!([]), |_| {})),
                1 => drop(guest.renew(&guest.id, json!([]), |report| report.policy |= 1 << 19)),
                2 => drop(guest.release(&lease)),
                _ => {}
            }
        }));
    }
}

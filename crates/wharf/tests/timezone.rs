//! Time zones: UTC unless one is granted, and what the database says of the past and the future.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use wharf::workload::manifest::{Component, TimeZone};
use wharf::workload::{Name, Workload};
use wharf::{Engine, Host};

/// 2026-01-15 and 2026-07-15, both 12:00 UTC; the seconds around the spring of 2026's change in Germany (03-29, 01:00 UTC).
const WINTER: i64 = 1_768_478_400;
const SUMMER: i64 = 1_784_116_800;
const CHANGE: i64 = 1_774_746_000;

struct Zone(Host);

impl Zone {
    async fn start(zone: Option<&str>) -> Self {
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/prebuilt/zones.wasm");
        let mut component = Component::from_path(guest);
        if let Some(zone) = zone {
            component.timezone = zone.parse::<TimeZone>().unwrap();
        }
        let name: Name = "zones".parse().unwrap();
        let host = Host::builder(Engine::builder().pooling(false).build().unwrap()).build().unwrap();
        host.workload_start(Workload::new(name.clone()).with_component(name, component)).await.unwrap();
        Self(host)
    }

    async fn ask(&self, call: &str) -> String {
        let told = self.0.call_wave("default/zones", "zones", call).await.unwrap().remove(0);
        told.trim_matches('"').replace("\\\"", "'")
    }

    /// What WASI 0.2 displays of a second.
    async fn display(&self, seconds: u64) -> String {
        self.ask(&format!("display({seconds})")).await
    }

    /// What WASI 0.3 tells of a second.
    async fn told(&self, seconds: i64) -> String {
        self.ask(&format!("told({seconds})")).await
    }
}

#[tokio::test]
async fn nobody_learns_where_the_host_stands() {
    let zone = Zone::start(None).await;
    assert_eq!(zone.display(SUMMER.cast_unsigned()).await, "+0 UTC false");
    assert_eq!(zone.told(SUMMER).await, "Some('UTC') UTC Some(0)");
}

#[tokio::test]
async fn a_granted_zone_has_its_summers() {
    let zone = Zone::start(Some("Europe/Berlin")).await;
    assert_eq!(zone.display(WINTER.cast_unsigned()).await, "+3600 CET false");
    assert_eq!(zone.display(SUMMER.cast_unsigned()).await, "+7200 CEST true");
    assert_eq!(zone.told(CHANGE - 1).await, "Some('Europe/Berlin') Europe/Berlin Some(3600000000000)");
    assert_eq!(zone.told(CHANGE).await, "Some('Europe/Berlin') Europe/Berlin Some(7200000000000)");
    let south = Zone::start(Some("Australia/Lord_Howe")).await;
    assert_eq!(south.display(WINTER.cast_unsigned()).await, "+39600 +11 true");
    assert_eq!(south.display(SUMMER.cast_unsigned()).await, "+37800 +1030 false");
}

#[tokio::test]
async fn the_past_and_the_future_are_in_the_database() {
    let berlin = Zone::start(Some("Europe/Berlin")).await;
    // 1945-07-15: double summer time. 1893-01-01: local mean time. 2500-07-15: by the rule of today.
    assert!(berlin.told(-772_200_000).await.ends_with("Some(10800000000000)"));
    assert!(berlin.told(-2_429_870_400).await.ends_with("Some(3208000000000)"));
    assert!(berlin.told(16_742_548_800).await.ends_with("Some(7200000000000)"));
    // Beyond what is defined: nothing, in the way of each interface.
    assert!(berlin.told(i64::MAX).await.ends_with("None"));
    assert_eq!(berlin.display(u64::MAX).await, "+0 UTC false");
}

#[tokio::test]
async fn the_hosts_own_zone_is_there_for_who_is_granted_it() {
    let zone = Zone::start(Some("system")).await;
    let expected = jiff::tz::TimeZone::try_system().unwrap_or(jiff::tz::TimeZone::UTC);
    let offset = i64::from(expected.to_offset(jiff::Timestamp::new(SUMMER, 0).unwrap()).seconds());
    assert!(zone.told(SUMMER).await.ends_with(&format!("Some({})", offset * 1_000_000_000)));
}

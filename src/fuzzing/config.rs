//! Settings from a file, and settings from code.
//!
//! What is promised:
//! - A file is refused with a text, or becomes a `Config` (feature `serde`).
//! - Any `Config` breaks a rule, and `validate` names it; or what follows from it keeps the bounds
//!   that the core relies on, and a node opens with it on an empty disk, twice (`CFG-39`).
//! - Ids are worked out, or refused, whatever else the rules say.

use std::path::PathBuf;
use std::time::Duration;

use super::disk;
use super::input::Input;
use crate::config::{Config, HEARTBEAT_TICKS, InitialState};
use crate::driver::open;
use crate::ids::{Incarnation, NodeId};
use crate::time::Instant;

/// The first byte of a case: a file follows.
pub(super) const FILE: u8 = b'{';

/// Runs a case: a file in JSON, or values for everything that can be set.
pub fn config(data: &[u8]) {
    if data.first() == Some(&FILE) {
        from_file(data);
    } else {
        check(&from_values(&mut Input::new(data)));
    }
}

#[cfg(not(feature = "serde"))]
fn from_file(_: &[u8]) {}

#[cfg(feature = "serde")]
fn from_file(data: &[u8]) {
    match serde_json::from_slice::<Config>(data) {
        Ok(config) => check(&config),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A good configuration in which so many things are changed as the case says.
fn from_values(input: &mut Input<'_>) -> Config {
    let members = [("a", "host:1"), ("b", "host:2"), ("c", "host:3")];
    let mut config = Config::new("a", "data").initial_cluster(members);
    for _ in 0..24 {
        if input.is_empty() {
            break;
        }
        let knob = input.byte();
        config = set(config, knob % 24, input);
    }
    config
}

fn set(config: Config, knob: u8, input: &mut Input<'_>) -> Config {
    match knob {
        0 => Config { name: text(input), ..config },
        1 => Config { data_dir: PathBuf::from(text(input)), ..config },
        2 => config.wal_dir(text(input)),
        3 => {
            let count = input.below(36);
            config
                .initial_cluster((0..count).map(|_| (text(input), text(input))).collect::<Vec<_>>())
        }
        4 if input.flag() => config.initial_state(InitialState::Existing),
        5 => config.cluster_token(text(input)),
        6 => config.heartbeat_interval(span(input)),
        7 => config.election_timeout(span(input)),
        8 => config.request_timeout(span(input)),
        9 => config.snapshot_count(input.number()),
        10 => config.snapshot_log_bytes(input.number()),
        11 => config.snapshot_catchup_entries(input.number()),
        12 => config.max_snapshots(count(input)),
        13 => config.segment_bytes(input.number()),
        14 => config.max_request_bytes(count(input)),
        15 => config.max_message_bytes(count(input)),
        16 => config.max_pending_requests(count(input)),
        17 => config.max_pending_bytes(count(input)),
        18 => config.max_inflight_appends(count(input)),
        19 => config.retain_revisions(input.number()),
        20 => config.retain_time(span(input)),
        21 => config.retain_bytes(input.number()),
        22 => config.max_pinned_revisions(input.number()),
        _ => config.election_seed(input.number()),
    }
}

fn count(input: &mut Input<'_>) -> usize {
    usize::try_from(input.number()).unwrap_or(usize::MAX)
}

/// Short words mostly, so that two are the same now and then; and some that are too long.
fn text(input: &mut Input<'_>) -> String {
    match input.byte() {
        short @ 0..64 => char::from(b'a' + short % 4).to_string(),
        long @ 64..80 => "x".repeat(usize::from(long - 63) * 80),
        80 => "data/snapshots".to_owned(),
        _ => String::from_utf8_lossy(input.bytes()).into_owned(),
    }
}

fn span(input: &mut Input<'_>) -> Duration {
    match input.byte() % 3 {
        0 => Duration::from_millis(input.number()),
        1 => Duration::from_nanos(input.number()),
        _ => Duration::from_secs(input.number()),
    }
}

fn check(config: &Config) {
    let ids = (config.node_id(), config.cluster_id());
    if let Err(error) = config.validate() {
        assert!(error.is_config() && !error.to_string().is_empty(), "{error:?}");
        for error in [ids.0.err(), ids.1.err()].into_iter().flatten() {
            assert!(error.is_config() && !error.to_string().is_empty(), "{error:?}");
        }
        return;
    }
    let (node, founding) = (ids.0.unwrap(), config.founding().unwrap());
    assert_eq!((founding.node, founding.cluster), (node, ids.1.unwrap()));
    assert!(node != NodeId::new(0));
    assert_eq!(founding.members.len(), config.initial_cluster.len());
    assert!(founding.members.windows(2).all(|pair| pair[0].id < pair[1].id), "MEM-5");
    bounds(config);
    opens(config);
}

/// What the core takes for granted of what is worked out.
fn bounds(config: &Config) {
    assert!(config.tick() >= Duration::from_millis(1));
    let ticks = config.election_ticks();
    let least = 5 * HEARTBEAT_TICKS as usize;
    assert!((least..=50_000).contains(&ticks), "{ticks} ticks to an election");
    assert!(config.tick() * u32::try_from(ticks).unwrap() >= config.election_timeout);
    assert!(config.effective_request_timeout() > Duration::ZERO);
    let (append, message) = (config.max_append_bytes(), config.max_message_bytes);
    assert!(append > 0 && append < message && message <= config.max_pending_bytes);
    assert!(config.max_request_bytes + 4096 <= message);
    assert_ne!(config.effective_wal_dir(), config.data_dir);
}

/// A member begins with it, and goes on.
fn opens(config: &Config) {
    let config = config.clone().vfs(disk::empty());
    let random = || Ok(Incarnation::new(7));
    let first = open(&config, Instant::default(), random);
    if config.initial_state == InitialState::Existing {
        let error = first.err().unwrap();
        assert!(error.is_config(), "BST-3: {error:?}");
        let founding = config.clone().initial_state(InitialState::New);
        open(&founding, Instant::default(), random).map(drop).unwrap();
    } else {
        first.map(drop).unwrap();
    }
    open(&config, Instant::default(), random).map(drop).unwrap();
}

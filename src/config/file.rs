//! `Config` from a file, whatever its format (feature `serde`).
//!
//! The fields are named as the methods of [`Config`]. Durations are whole numbers with a unit
//! (`"100ms"`, `"5s"`, `"2m"`), sizes are bytes or have one (`65536`, `"64KiB"`, `"1MiB"`,
//! `"1GiB"`), and the members are a table of name to address. An unknown field is an error. The
//! rules are not asked here: [`Config::validate`] does that, for a file as for code.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::{Config, InitialState};

const DURATIONS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000)];
const SIZES: &[(&str, u64)] = &[("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    data_dir: PathBuf,
    wal_dir: Option<PathBuf>,
    #[serde(default)]
    initial_cluster: Members,
    initial_state: Option<InitialState>,
    cluster_token: Option<String>,
    heartbeat_interval: Option<Span>,
    election_timeout: Option<Span>,
    request_timeout: Option<Span>,
    snapshot_count: Option<u64>,
    snapshot_log_bytes: Option<Size<u64>>,
    snapshot_catchup_entries: Option<u64>,
    max_snapshots: Option<usize>,
    segment_bytes: Option<Size<u64>>,
    max_request_bytes: Option<Size<usize>>,
    max_txn_ops: Option<usize>,
    max_message_bytes: Option<Size<usize>>,
    max_pending_requests: Option<usize>,
    max_pending_bytes: Option<Size<usize>>,
    max_inflight_appends: Option<usize>,
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let file = File::deserialize(deserializer)?;
        let members = file.initial_cluster.0;
        let mut config = Config::new(file.name, file.data_dir).initial_cluster(members);
        macro_rules! set {
            ($($knob:ident $(. $inner:tt)?),*) => {
                $(if let Some(value) = file.$knob {
                    config = config.$knob(value $(. $inner)?);
                })*
            };
        }
        set!(wal_dir, initial_state, cluster_token, heartbeat_interval.0, election_timeout.0);
        set!(request_timeout.0, snapshot_count, snapshot_log_bytes.0, snapshot_catchup_entries);
        set!(max_snapshots, segment_bytes.0, max_request_bytes.0, max_message_bytes.0);
        set!(max_txn_ops);
        set!(max_pending_requests, max_pending_bytes.0, max_inflight_appends);
        Ok(config)
    }
}

/// Kept as a list, so that a name that stands twice is refused and not overwritten (`BST-2`).
#[derive(Default)]
struct Members(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of member name to address")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Table)
    }
}

struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Some(millis) = number(&text, DURATIONS) else {
            let text = format!("{text:?} is no duration such as \"100ms\", \"5s\" or \"2m\"");
            return Err(D::Error::custom(text));
        };
        Ok(Self(Duration::from_millis(millis)))
    }
}

struct Size<T>(T);

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Size<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size is a number of bytes, or a text such as \"64KiB\"")]
        enum Given {
            Bytes(u64),
            Text(String),
        }
        let (bytes, text) = match Given::deserialize(deserializer)? {
            Given::Bytes(bytes) => (Some(bytes), bytes.to_string()),
            Given::Text(text) => (number(&text, SIZES), text),
        };
        let size = bytes.and_then(|bytes| T::try_from(bytes).ok());
        size.map(Self).ok_or_else(|| {
            let such = "65536, \"64KiB\", \"1MiB\" or \"1GiB\"";
            D::Error::custom(format!("{text:?} is no size such as {such}"))
        })
    }
}

/// A whole number and one of the units; none if it is anything else, or too large.
fn number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// A file with one field more than it must have.
    fn with(field: &str) -> Result<Config, String> {
        parse(&format!(r#"{{"name": "a", "data_dir": "d", {field}}}"#))
    }

    #[test]
    fn every_field_arrives() {
        let text = r#"{
            "name": "b", "data_dir": "d", "wal_dir": "w", "cluster_token": "t",
            "initial_cluster": {"b": "x:1", "a": "x:2"}, "initial_state": "existing",
            "heartbeat_interval": "50ms", "election_timeout": "2s", "request_timeout": "1 m",
            "snapshot_count": 7, "snapshot_log_bytes": "1GiB", "snapshot_catchup_entries": 8,
            "max_snapshots": 3, "segment_bytes": 65536, "max_request_bytes": "64KiB", "max_txn_ops": 9,
            "max_message_bytes": "2 MiB", "max_pending_requests": 9,
            "max_pending_bytes": "32MiB", "max_inflight_appends": 10
        }"#;
        let wanted = Config::new("b", "d")
            .wal_dir("w")
            .cluster_token("t")
            .initial_cluster([("b", "x:1"), ("a", "x:2")])
            .initial_state(InitialState::Existing)
            .heartbeat_interval(Duration::from_millis(50))
            .election_timeout(Duration::from_secs(2))
            .request_timeout(Duration::from_secs(60))
            .snapshot_count(7)
            .snapshot_log_bytes(1 << 30)
            .snapshot_catchup_entries(8)
            .max_snapshots(3)
            .segment_bytes(65_536)
            .max_request_bytes(64 << 10)
            .max_txn_ops(9)
            .max_message_bytes(2 << 20)
            .max_pending_requests(9)
            .max_pending_bytes(32 << 20)
            .max_inflight_appends(10);
        assert_eq!(format!("{:?}", parse(text).unwrap()), format!("{wanted:?}"));
        wanted.validate().unwrap();
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let config = parse(r#"{"name": "a", "data_dir": "d"}"#).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::new("a", "d")));
    }

    #[test]
    fn a_wrong_file_is_refused_by_field_and_value() {
        for (field, wanted) in [
            (r#""heartbeat": "1s""#, "unknown field `heartbeat`"),
            (r#""heartbeat_interval": "1h""#, r#""1h" is no duration"#),
            (r#""heartbeat_interval": "1.5s""#, r#""1.5s" is no duration"#),
            (r#""heartbeat_interval": "99999999999999999999s""#, "is no duration"),
            (r#""heartbeat_interval": 100"#, "invalid type: integer `100`"),
            (r#""segment_bytes": "64MB""#, r#""64MB" is no size"#),
            (r#""segment_bytes": "ü""#, r#""ü" is no size"#),
            (r#""segment_bytes": "18446744073709551615KiB""#, "is no size"),
            (r#""segment_bytes": -1"#, "a size is a number of bytes"),
            (r#""initial_state": "NEW""#, "unknown variant `NEW`"),
            (r#""initial_cluster": ["a"]"#, "a table of member name to address"),
        ] {
            let error = with(field).unwrap_err();
            assert!(error.contains(wanted), "{field}: {error}");
        }
        assert!(parse(r#"{"name": "a"}"#).unwrap_err().contains("missing field `data_dir`"));
    }

    /// BST-2: a table with a name twice is not quietly a smaller one.
    #[test]
    fn a_name_twice_survives_until_the_rules_refuse_it() {
        let config = with(r#""initial_cluster": {"a": "x", "a": "y"}"#).unwrap();
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("name \"a\" twice"), "{error}");
    }
}

//! What the `raft` crate has to say, as `tracing` events.
//!
//! The crate logs one "info" for every message of an old term and several for every election,
//! which is much for a library inside somebody's service: info becomes debug, debug becomes
//! trace, and a record is formatted only if somebody listens.

use std::fmt::{self, Write};

use slog::{Drain, KV, Level, Logger, Never, OwnedKVList, Record, Serializer};

/// A logger for one member.
pub(super) fn logger() -> Logger {
    Logger::root(ToTracing, slog::o!())
}

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        macro_rules! pass_on {
            ($level:ident) => {
                if tracing::enabled!(target: "quorate::raft", tracing::Level::$level) {
                    let text = text(record, values);
                    tracing::event!(target: "quorate::raft", tracing::Level::$level, "{text}");
                }
            };
        }
        match record.level() {
            Level::Critical | Level::Error => pass_on!(ERROR),
            Level::Warning => pass_on!(WARN),
            Level::Info => pass_on!(DEBUG),
            Level::Debug | Level::Trace => pass_on!(TRACE),
        }
        Ok(())
    }
}

fn text(record: &Record<'_>, values: &OwnedKVList) -> String {
    let mut text = Text(record.msg().to_string());
    // What cannot be formatted is left out: a log line is no reason to fail.
    let _ = record.kv().serialize(record, &mut text);
    let _ = values.serialize(record, &mut text);
    text.0
}

/// The message, then each value as `, key: value`.
struct Text(String);

impl Serializer for Text {
    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, ", {key}: {value}")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::field::{Field, Visit};
    use tracing::span;

    use super::*;

    /// Keeps what is logged at debug level and above.
    #[derive(Clone, Default)]
    struct Listener(Arc<Mutex<Vec<String>>>);

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
            let _ = write!(self.0, "{value:?}");
        }
    }

    impl tracing::Subscriber for Listener {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            *metadata.level() <= tracing::Level::DEBUG
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            let mut line = Line(format!("{} ", event.metadata().level()));
            event.record(&mut line);
            self.0.lock().push(line.0);
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn records_become_events_one_level_lower() {
        let listener = Listener::default();
        tracing::subscriber::with_default(listener.clone(), || {
            let logger = logger().new(slog::o!("raft_id" => 7));
            slog::warn!(logger, "cannot campaign at term {}", 3; "pending" => 1);
            slog::info!(logger, "became follower");
            slog::debug!(logger, "not listened to");
        });
        assert_eq!(
            *listener.0.lock(),
            [
                "WARN cannot campaign at term 3, pending: 1, raft_id: 7",
                "DEBUG became follower, raft_id: 7"
            ]
        );
    }
}

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

struct Text(String);

impl Serializer for Text {
    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, ", {key}: {value}")?;
        Ok(())
    }
}

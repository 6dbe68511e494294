//! A history as a file that other checkers read.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::{Answer, Call, CallId, History, Kv, Op, Why};
use crate::error::WriteOutcome;
use crate::keys::KeyRange;
use crate::sim::check::model::is_plain;

impl History {
    /// Writes the history as Jepsen does: EDN, one map for each event and line, in the order in
    /// which things happened. Jepsen, Elle and Knossos read this, and so does whatever reads theirs
    /// (`elle-cli --model rw-register FILE`).
    ///
    /// ```text
    /// {:index 0, :time 5, :process 1, :type :invoke, :f :txn, :value [[:w "a" "x"]], ..}
    /// {:index 1, :time 9, :process 1, :type :ok, :f :txn, :value [[:w "a" "x"]], .., :revision 2}
    /// ```
    ///
    /// - `:index` counts the lines, `:time` is virtual, in nanoseconds.
    /// - `:process` is the client, as long as it waits for one call at a time. A process whose call
    ///   ended with an unknown outcome, or never, is not heard of again: its client goes on under a
    ///   new number, as those checkers expect.
    /// - `:type` is `:invoke`, then `:ok`, `:fail` (has not happened and never will; or a read
    ///   that failed) or `:info` (unknown). A call that was never answered has its `:invoke` only.
    /// - `:f` is `:txn` for a put, and for a linearizable read of what is newest without a limit;
    ///   `:value` holds its writes `[:w key value]` and its reads `[:r key value]`, with `nil` for
    ///   a key that is not there. Everything else has a name of its own in `:f` and no `:value`,
    ///   so that those checkers pass over it: `:delete`, `:compact`, `:touch` (a put that keeps the
    ///   value), `:branch` (a transaction: what it writes depends on what it compares),
    ///   `:read-at`, `:read-page`, `:count` and `:read-stale`.
    /// - Keys and values are strings with one character for each byte.
    /// - The rest is ours: `:call`, `:member`, what was asked for (`:key`, `:range` as first key
    ///   and first key behind, `nil` for no end, `:limit`, `:at`; of a transaction everything in
    ///   words, in `:text`), and what was answered (`:revision`, `:kvs` with key, value, create
    ///   revision, mod revision and version, `:count`, `:more`, `:deleted`, `:succeeded` with
    ///   `:responses` in words, `:error`).
    ///
    /// Elle takes `nil` for the first state of a register, which no write brings back, and knows
    /// of no write but those in `:value`: give it histories without deletions and transactions.
    pub(crate) fn edn(&self) -> String {
        let mut text = String::new();
        // Only what is written to can fail, and text does not.
        let _ = self.write_edn(&mut text);
        text
    }

    fn write_edn(&self, out: &mut String) -> fmt::Result {
        let mut events: Vec<(u64, CallId, bool)> = Vec::new();
        for (id, call) in self.calls() {
            events.push((call.invoked, id, false));
            events.extend(call.end.as_ref().map(|end| (end.returned, id, true)));
        }
        events.sort_unstable();

        let mut processes = Processes::of(self);
        for (index, (_, id, is_end)) in events.into_iter().enumerate() {
            let Some(call) = self.call(id) else { continue };
            let end = call.end.as_ref().filter(|_| is_end);
            let (time, kind) = match end {
                None => (call.invoked_at, "invoke"),
                Some(end) => (end.returned_at, ending(&call.op, &end.answer)),
            };
            let process = match kind {
                "invoke" => processes.begin(call.client, id),
                _ => processes.end(call.client, id, kind == "info"),
            };
            let answer = end.map(|end| &end.answer);
            write!(out, "{{:index {index}, :time {}, :process {process}", time.nanos())?;
            write!(out, ", :type :{kind}")?;
            write_call(out, call, answer)?;
            writeln!(out, "}}")?;
        }
        Ok(())
    }
}

/// Which process a client is at the moment.
struct Processes {
    /// For each client its process, and the call that this waits for.
    now: BTreeMap<u32, (u64, Option<CallId>)>,
    /// The process of each call that has begun and not ended.
    of_call: BTreeMap<CallId, u64>,
    /// The first number that was never used.
    next: u64,
}

impl Processes {
    fn of(history: &History) -> Self {
        let last = history.calls().map(|(_, call)| u64::from(call.client)).max();
        let next = last.map_or(0, |last| last.saturating_add(1));
        Self { now: BTreeMap::new(), of_call: BTreeMap::new(), next }
    }

    fn begin(&mut self, client: u32, id: CallId) -> u64 {
        let (process, waits_for) = self.now.entry(client).or_insert((u64::from(client), None));
        if waits_for.is_some() {
            *process = self.next;
            self.next = self.next.saturating_add(1);
        }
        *waits_for = Some(id);
        self.of_call.insert(id, *process);
        *process
    }

    /// A process whose call has an unknown end waits for ever.
    fn end(&mut self, client: u32, id: CallId, unknown: bool) -> u64 {
        if let Some((_, waits_for)) = self.now.get_mut(&client).filter(|_| !unknown) {
            *waits_for = waits_for.filter(|call| *call != id);
        }
        self.of_call.remove(&id).unwrap_or_default()
    }
}

fn ending(op: &Op, answer: &Answer) -> &'static str {
    match answer {
        Answer::Failed { outcome: WriteOutcome::Unknown, .. } if op.view().is_none() => "info",
        Answer::Failed { .. } => "fail",
        _ => "ok",
    }
}

/// The name under which others see a call.
fn function(op: &Op) -> &'static str {
    match (op, op.view()) {
        (Op::Put(put), _) if put.ignore_value => "touch",
        (Op::Put(_), _) => "txn",
        (Op::Delete(_), _) => "delete",
        (Op::Txn { .. }, _) => "branch",
        (Op::Compact { .. }, _) => "compact",
        (_, Some(view)) if view.serializable => "read-stale",
        (_, Some(view)) if view.at.is_some() => "read-at",
        (Op::Range { query, .. }, _) if query.count_only => "count",
        (Op::Range { query, .. }, _) if query.limit > 0 || !is_plain(query) => "read-page",
        (Op::Get { .. } | Op::Range { .. }, _) => "txn",
    }
}

fn write_call(out: &mut String, call: &Call, answer: Option<&Answer>) -> fmt::Result {
    let function = function(&call.op);
    write!(out, ", :f :{function}, :value ")?;
    if function == "txn" {
        write_steps(out, &call.op, answer)?;
    } else {
        write!(out, "nil")?;
    }
    write_op(out, &call.op)?;
    write!(out, ", :member \"{}\"", call.member)?;
    answer.map_or(Ok(()), |answer| write_answer(out, answer))
}

/// The reads and writes of a call, in the words of those who check transactions.
fn write_steps(out: &mut String, op: &Op, answer: Option<&Answer>) -> fmt::Result {
    write!(out, "[")?;
    match (op, answer) {
        (Op::Put(put), _) => write!(out, "[:w {} {}]", Text(&put.key), Text(&put.value))?,
        (Op::Get { key, .. }, Some(Answer::Got { kv: Some(kv), .. })) => {
            write!(out, "[:r {} {}]", Text(key), Text(&kv.value))?;
        }
        (Op::Get { key, .. }, _) => write!(out, "[:r {} nil]", Text(key))?,
        (_, Some(Answer::Ranged { kvs, .. })) => {
            for (place, kv) in kvs.iter().enumerate() {
                let gap = if place == 0 { "" } else { " " };
                write!(out, "{gap}[:r {} {}]", Text(&kv.key), Text(&kv.value))?;
            }
        }
        _ => {}
    }
    write!(out, "]")
}

fn write_op(out: &mut String, op: &Op) -> fmt::Result {
    match op {
        Op::Put(put) => write!(out, ", :call :put{}", prev(put.prev)),
        Op::Delete(delete) => {
            write!(out, ", :call :delete{}", prev(delete.prev))?;
            write_range(out, &delete.range)
        }
        Op::Txn { .. } => {
            let text = op.to_string();
            write!(out, ", :call :txn, :text {}", Text(text.as_bytes()))
        }
        Op::Get { key, .. } => write!(out, ", :call :get, :key {}", Text(key)),
        Op::Range { query, .. } => {
            write!(out, ", :call :range")?;
            write_range(out, &query.range)?;
            if query.limit > 0 {
                write!(out, ", :limit {}", query.limit)?;
            }
            write!(out, "{}", if query.count_only { ", :count-only true" } else { "" })
        }
        Op::Compact { revision } => write!(out, ", :call :compact, :at {revision}"),
    }?;
    match op.view().and_then(|view| view.at) {
        Some(at) => write!(out, ", :at {at}"),
        None => Ok(()),
    }
}

fn prev(asked: bool) -> &'static str {
    if asked { ", :prev true" } else { "" }
}

fn write_range(out: &mut String, range: &KeyRange) -> fmt::Result {
    let start = Text(range.start());
    match (range.single(), range.end()) {
        (Some(key), _) => write!(out, ", :key {}", Text(key)),
        (None, Some(end)) => write!(out, ", :range [{start} {}]", Text(end)),
        (None, None) => write!(out, ", :range [{start} nil]"),
    }
}

fn write_answer(out: &mut String, answer: &Answer) -> fmt::Result {
    if let Some(revision) = answer.revision() {
        write!(out, ", :revision {revision}")?;
    }
    if !answer.shown().is_empty() {
        write!(out, ", :kvs [")?;
        for (place, kv) in answer.shown().iter().enumerate() {
            let Kv { key, value, create, modified, version } = kv;
            let gap = if place == 0 { "" } else { " " };
            write!(out, "{gap}[{} {} {create} {modified} {version}]", Text(key), Text(value))?;
        }
        write!(out, "]")?;
    }
    match answer {
        Answer::Deleted { deleted, .. } => write!(out, ", :deleted {deleted}"),
        Answer::Ranged { more, count, .. } => write!(out, ", :count {count}, :more {more}"),
        Answer::Txn { succeeded, responses, .. } => {
            let told: Vec<String> = responses.iter().map(Answer::to_string).collect();
            let told = told.join("; ");
            write!(out, ", :succeeded {succeeded}, :responses {}", Text(told.as_bytes()))
        }
        Answer::Failed { why, .. } => match why {
            Why::Compacted(oldest) => write!(out, ", :error [:compacted {oldest}]"),
            Why::FutureRevision(newest) => write!(out, ", :error [:future {newest}]"),
            Why::KeyNotFound => write!(out, ", :error :key-not-found"),
            Why::Timeout => write!(out, ", :error :timeout"),
            Why::Unavailable => write!(out, ", :error :unavailable"),
            Why::Overloaded => write!(out, ", :error :overloaded"),
            Why::Closed => write!(out, ", :error :closed"),
            Why::Halted => write!(out, ", :error :halted"),
            Why::Other => write!(out, ", :error :other"),
        },
        Answer::Put { .. } | Answer::Got { .. } | Answer::Compacted { .. } => Ok(()),
    }
}

/// Bytes as an EDN string: each becomes the character of the same number.
struct Text<'a>(&'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for byte in self.0 {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(*byte)),
                b' '..=b'~' => write!(f, "{}", char::from(*byte)),
                _ => write!(f, "\\u{byte:04x}"),
            }?;
        }
        f.write_str("\"")
    }
}

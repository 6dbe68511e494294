//! What scripts say about leases.

use std::fmt::Write as _;
use std::time::Duration;

use goldenscript::Command as Line;

use super::{Answered, Cluster, node, number};
use crate::core::lease::{Leftover, Opened, Opening};
use crate::core::machine::Command;
use crate::core::machine::txn::{Compare, Delete, Op, Operator, Put, Target, Txn};
use crate::core::replica::io::Input;
use crate::ids::{Index, LeaseId, Revision};
use crate::keys::KeyRange;
use crate::time::Instant;

/// How a place is taken: put, if it is not there.
pub(super) fn claim(put: Put) -> Command {
    let (range, target) = (KeyRange::key(put.key.clone()), Target::Version(0));
    let compares = vec![Compare { range, operator: Operator::Equal, target }];
    Command::Txn(Txn { compares, success: vec![Op::Put(put)], failure: Vec::new() })
}

impl Cluster {
    /// What a caller asks of one node about leases.
    pub(super) fn lease(&mut self, line: &Line) -> Answered<()> {
        let mut args = line.consume_args();
        let at = node(self, &mut args)?;
        if line.name == "kept" {
            return self.kept(at);
        }
        if line.name == "leases" {
            return self.leases(at);
        }
        if line.name == "leftovers" {
            return self.leftovers(at);
        }
        let timeout = number(&mut args, "timeout")?;
        let deadline = self.now.after(Duration::from_millis(timeout.unwrap_or(60_000)));
        let id = LeaseId::new(number(&mut args, "id")?.unwrap_or(0));
        let many = number(&mut args, "many")?.unwrap_or(1);
        let given: u64 = args.next_pos().ok_or("which, or how long?")?.parse()?;
        for _ in 0..many {
            self.ask_lease(at, (&line.name, given), id, deadline);
        }
        Ok(())
    }

    fn ask_lease(&mut self, at: usize, (name, given): (&str, u64), id: LeaseId, deadline: Instant) {
        let lease = LeaseId::new(given);
        let grant = Command::Grant { lease: id, ttl: given };
        match name {
            "grant" => self.write(at, &grant, deadline),
            "revoke" => {
                let grant = Index::default();
                self.write(at, &Command::Revoke { lease, grant }, deadline);
            }
            "keep" => {
                let token = self.token();
                self.give(at, Input::KeepAlive { token, lease, deadline });
            }
            _ => {
                let adopts = name == "adopt";
                let how =
                    if adopts { Opening::Adopt(lease) } else { Opening::Grant(grant.encode()) };
                let token = self.token();
                self.give(at, Input::Open { token, how, deadline });
            }
        }
    }

    fn leases(&mut self, at: usize) -> Answered<()> {
        let Some(replica) = &self.hosts[at].replica else { return Err("it is down".into()) };
        let leases = replica.machine().leases();
        let mut text = format!("lease clock {}", leases.clock());
        for id in leases.ids() {
            let look = replica.look_at_lease(id, true).ok_or("it is not there")?;
            let keys = look.keys.iter().map(|key| format!(" {}", key.escape_ascii()));
            let keys: String = keys.collect();
            let left = look.remaining.as_millis();
            write!(text, ", {id}: {left} of {} ms{keys}", look.granted.as_millis())?;
        }
        self.say(at, text);
        Ok(())
    }

    /// How many leases there are, and how many of them this node keeps.
    fn kept(&mut self, at: usize) -> Answered<()> {
        let Some(replica) = &self.hosts[at].replica else { return Err("it is down".into()) };
        let (all, kept) = (replica.machine().leases().iter().len(), replica.kept_leases());
        let over = self.held.iter().filter(|kept| kept.is_over(self.now)).count();
        self.say(at, format!("keeps {kept} of {all} leases; of holders {over} have lost theirs"));
        Ok(())
    }

    /// Whoever asked for it takes it, until the script says otherwise.
    pub(super) fn opened(&mut self, opened: Opened) {
        if let Opened::Kept(offered) = opened
            && !self.nobody_waits
        {
            self.held.extend(offered.take());
        }
    }

    /// What holders do, and know.
    pub(super) fn hold(&mut self, line: &Line) -> Answered<()> {
        let mut args = line.consume_args();
        let lease = LeaseId::new(args.next_pos().ok_or("which?")?.parse()?);
        if line.name != "holder" {
            for kept in self.held.extract_if(.., |kept| kept.lease() == lease) {
                kept.let_go(self.now);
                // As a session does that could not ask for it.
                if line.name == "close" {
                    kept.revoke_later();
                }
            }
            return Ok(());
        }
        let kept = self.held.iter().rev().find(|kept| kept.lease() == lease).ok_or("not held")?;
        let (over, until) = (kept.is_over(self.now), kept.deadline().nanos() / 1_000_000);
        let now = self.now.nanos() / 1_000_000;
        writeln!(self.out, "at {now} ms: {} {until}", if over { "over since" } else { "until" })?;
        Ok(())
    }

    /// Holders at one node go away and leave keys: one that is there; or any that was, or will be,
    /// made `after=` a revision. Of `many=` the keys end with numbers.
    pub(super) fn leave(&mut self, line: &Line) -> Answered<()> {
        let mut args = line.consume_args();
        let at = node(self, &mut args)?;
        let after = number(&mut args, "after")?;
        let many = number(&mut args, "many")?;
        let lease = LeaseId::new(args.next_pos().ok_or("under which lease?")?.parse()?);
        let name = args.next_pos().ok_or("which key?")?;
        let Some(replica) = &self.hosts[at].replica else { return Err("it is down".into()) };
        let kept = self.held.iter().rev().find(|kept| kept.lease() == lease).ok_or("not held")?;
        for count in 0..many.unwrap_or(1) {
            let key = if many.is_some() { format!("{name}{count}") } else { name.to_owned() };
            let (operator, revision) = match after {
                Some(after) => (Operator::Greater, Revision::new(after)),
                None => {
                    let (_, found) = replica.reader().get(key.as_bytes(), None)?;
                    (Operator::Equal, found.ok_or("it is not there")?.create_revision())
                }
            };
            let (range, target) = (KeyRange::key(key.clone()), Target::CreateRevision(revision));
            let compares = vec![Compare { range: range.clone(), operator, target }];
            let success = vec![Op::Delete(Delete { range, prev: false })];
            let deletion = Command::Txn(Txn { compares, success, failure: Vec::new() });
            kept.leave_behind(Leftover { deletion, made: after.is_none() });
        }
        if kept.is_littered() {
            writeln!(self.out, "no more are to be made")?;
        }
        Ok(())
    }

    /// What is left behind at one node, as far as that has looked.
    fn leftovers(&mut self, at: usize) -> Answered<()> {
        let Some(replica) = &self.hosts[at].replica else { return Err("it is down".into()) };
        let (waiting, under_way) = replica.leftovers();
        self.say(at, format!("has {waiting} to delete yet, and {under_way} under way"));
        Ok(())
    }
}

//! What scripts say about leases.

use std::fmt::Write as _;
use std::time::Duration;

use goldenscript::Command as Line;

use super::{Answered, Cluster, node, number};
use crate::core::lease::Opening;
use crate::core::machine::Command;
use crate::core::replica::io::Input;
use crate::ids::LeaseId;

impl Cluster {
    /// What a caller asks of one node about leases.
    pub(super) fn lease(&mut self, line: &Line) -> Answered<()> {
        let mut args = line.consume_args();
        let at = node(self, &mut args)?;
        if line.name == "leases" {
            return self.leases(at);
        }
        let timeout = number(&mut args, "timeout")?;
        let deadline = self.now.after(Duration::from_millis(timeout.unwrap_or(60_000)));
        let id = LeaseId::new(number(&mut args, "id")?.unwrap_or(0));
        let given: u64 = args.next_pos().ok_or("which, or how long?")?.parse()?;
        let lease = LeaseId::new(given);
        let grant = Command::Grant { lease: id, ttl: given };
        let how = match line.name.as_str() {
            "grant" => {
                self.write(at, &grant, deadline);
                return Ok(());
            }
            "revoke" => {
                self.write(at, &Command::Revoke { lease }, deadline);
                return Ok(());
            }
            "keep" => {
                let token = self.token();
                self.give(at, Input::KeepAlive { token, lease, deadline });
                return Ok(());
            }
            "adopt" => Opening::Adopt(lease),
            _ => Opening::Grant(grant.encode()),
        };
        let token = self.token();
        self.give(at, Input::Open { token, how, deadline });
        Ok(())
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

    /// What holders do, and know.
    pub(super) fn hold(&mut self, line: &Line) -> Answered<()> {
        let mut args = line.consume_args();
        let lease = LeaseId::new(args.next_pos().ok_or("which?")?.parse()?);
        if line.name == "let-go" {
            self.held.retain(|kept| kept.lease() != lease);
            return Ok(());
        }
        let kept = self.held.iter().rev().find(|kept| kept.lease() == lease).ok_or("not held")?;
        let (over, until) = (kept.is_over(self.now), kept.deadline().nanos() / 1_000_000);
        let now = self.now.nanos() / 1_000_000;
        writeln!(self.out, "at {now} ms: {} {until}", if over { "over since" } else { "until" })?;
        Ok(())
    }
}

//! Calls through a member, as its users make them.

use std::error::Error;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::Done;
use super::command::{Command, Place};
use super::play::Play;
use super::show;
use crate::error::Error as Refused;
use crate::gate::Gate;
use crate::ids::{LeaseId, Revision};
use crate::service::{Branch, Compare, Op, RangeResponse, TransferLeader};
use crate::sim::node::Node;
use crate::store::Store;

/// Longer than any script.
pub(super) const PATIENCE: Duration = Duration::from_secs(3600);

impl Play {
    pub(super) fn call(&mut self, command: &Command) -> Done {
        match command {
            Command::Put { at, key, value, size, timeout, lease } => {
                let value = value.repeat(size.map_or(1, |size| size.div_ceil(value.len())));
                self.put(at, (key, &value), lease.unwrap_or(0), *timeout)?;
            }
            Command::Delete { at, key, to } => {
                let (store, number) = (self.store(at)?, self.number());
                let range = show::range(key, to.as_deref());
                let text = format!("delete {}", show::span(key, to.as_deref()));
                let call = store.delete(range).timeout(PATIENCE);
                self.spawn(number, text, async move {
                    let deleted = call.await?;
                    let (count, revision) = (deleted.deleted, deleted.header.revision);
                    Ok(format!("{count} gone at revision {revision}"))
                })?;
            }
            Command::Swap { at, key, value, seen, also } => {
                self.swap(at, (key, value), seen.unwrap_or_default(), also.as_ref())?;
            }
            Command::Compact { at, revision, physical, timeout } => {
                self.compact(at, *revision, physical.is_some(), *timeout)?;
            }
            Command::Read { at, key, rev, to, within, least, timeout } => {
                let mut range = store_range(&self.store(at)?, (key, to.as_deref()), *rev);
                let mut text = show::read(key, to.as_deref(), *rev);
                if let Some(ms) = within {
                    range = range.max_staleness(Duration::from_millis(*ms));
                    text = format!("{text} within {ms}ms");
                }
                if let Some(revision) = least {
                    range = range.at_least(Revision::new(*revision));
                    text = format!("{text} from {revision}");
                }
                let wait = timeout.map_or(PATIENCE, Duration::from_millis);
                let (call, number) = (range.timeout(wait), self.number());
                self.spawn(number, text, async move { Ok(found(&call.await?)) })?;
            }
            Command::Get { at, key, rev, to } => {
                let range = store_range(&self.store(at)?, (key, to.as_deref()), *rev);
                let call = range.serializable();
                let told = Arc::clone(&self.told);
                let at = at.clone();
                self.cluster()?.spawn(async move {
                    let line = match call.await {
                        Ok(response) => format!("{at} holds {}", found(&response)),
                        Err(error) => format!("{at} says: {error}"),
                    };
                    told.lock().push(line);
                });
            }
            Command::Transfer { at, to } => {
                let gate = self.gate(at)?;
                let place = self.place(to)?;
                let id = self.world()?.lock().nodes.get(place).map(|node| node.id);
                let call = TransferLeader::new(&gate, id.ok_or("nobody")?);
                let number = self.number();
                self.spawn(number, format!("transfer to {to}"), async move {
                    call.await?;
                    Ok("done".to_owned())
                })?;
            }
            _ => return Err("not a call".into()),
        }
        self.rest()
    }

    fn compact(&mut self, at: &Place, revision: u64, physical: bool, wait: Option<u64>) -> Done {
        let (store, number) = (self.store(at)?, self.number());
        let wait = wait.map_or(PATIENCE, Duration::from_millis);
        let call = store.compact(Revision::new(revision)).timeout(wait);
        let call = if physical { call.physical() } else { call };
        self.spawn(number, format!("compact {revision}"), async move {
            let compacted = call.await?;
            Ok(format!("done, revision {}", compacted.header.revision))
        })
    }

    fn put(
        &mut self,
        at: &Place,
        (key, value): (&String, &String),
        lease: u64,
        wait: Option<u64>,
    ) -> Done {
        let (store, number) = (self.store(at)?, self.number());
        let wait = wait.map_or(PATIENCE, Duration::from_millis);
        let call = store.put(key.clone(), value.clone()).lease(LeaseId::new(lease)).timeout(wait);
        let text = format!("put {key}={}", show::short(value.as_bytes()));
        self.spawn(number, text, async move {
            let written = call.await?;
            Ok(format!("at revision {}", written.header.revision))
        })
    }

    fn swap(
        &mut self,
        at: &Place,
        (key, value): (&String, &String),
        seen: u64,
        also: Option<&String>,
    ) -> Done {
        let text = format!("swap {key}={}", show::short(value.as_bytes()));
        let keys = [Some(key), also].into_iter().flatten();
        let puts = keys.map(|key| Op::from(Op::put(key.clone(), value.clone())));
        let unchanged = Compare::mod_revision(key.clone()).equals(Revision::new(seen));
        let call = self.store(at)?.txn().when(unchanged).then(puts.collect::<Vec<_>>());
        let call = call.or_else(Op::get(key.clone())).timeout(PATIENCE);
        let number = self.number();
        self.spawn(number, text, async move {
            let told = call.await?;
            let revision = told.header.revision;
            Ok(match told.branch {
                Branch::Then(puts) => format!("{} put at revision {revision}", puts.len()),
                Branch::Else(got) => {
                    let kv = got.kv.as_ref().map_or("nothing".to_owned(), show::kv);
                    format!("no, it is {kv}, revision {revision}")
                }
            })
        })
    }

    pub(super) fn number(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    pub(super) fn store(&self, at: &Place) -> Result<Store, Box<dyn Error>> {
        Ok(self.cluster()?.store(&at.0)?)
    }

    fn gate(&self, at: &Place) -> Result<Arc<dyn Gate>, Box<dyn Error>> {
        let place = self.place(at)?;
        let world = self.world()?.lock();
        let running = world.nodes.get(place).and_then(Node::running).ok_or("it is down")?;
        Ok(Arc::clone(&running.port) as Arc<dyn Gate>)
    }

    /// Makes the call, and prints its answer whenever it comes.
    pub(super) fn spawn<T: Display>(
        &self,
        number: u64,
        text: String,
        call: impl Future<Output = Result<T, Refused>> + Send + 'static,
    ) -> Done {
        let told = Arc::clone(&self.told);
        self.cluster()?.spawn(async move {
            let line = match call.await {
                Ok(answer) => format!("#{number} {text}: {answer}"),
                Err(error) if error.is_unknown() => format!("#{number} {text}: unknown: {error}"),
                Err(error) => format!("#{number} {text}: failed: {error}"),
            };
            told.lock().push(line);
        });
        Ok(())
    }
}

fn store_range(
    store: &Store,
    (key, to): (&str, Option<&str>),
    rev: Option<u64>,
) -> crate::service::RangeRead {
    let read = store.range(show::range(key, to));
    match rev {
        Some(rev) => read.at(Revision::new(rev)),
        None => read,
    }
}

fn found(response: &RangeResponse) -> String {
    let kvs: Vec<String> = response.kvs.iter().map(show::kv).collect();
    let kvs = if kvs.is_empty() { "nothing".to_owned() } else { kvs.join(" ") };
    format!("{kvs}, revision {}", response.header.revision)
}

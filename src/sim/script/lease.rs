//! Leases of callers, and sessions that scripts hold.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Done;
use super::command::{Command, Place};
use super::play::Play;
use super::show;
use crate::ids::LeaseId;
use crate::service::Session;

/// Those that are held, by the numbers of the calls that opened them.
pub(super) type Sessions = Arc<Mutex<Vec<(u64, Session)>>>;

impl Play {
    pub(super) fn lease(&mut self, command: &Command) -> Done {
        match command {
            Command::Grant { at, ttl, id } => {
                let (store, number) = (self.store(at)?, self.number());
                let call = store.grant(Duration::from_millis(*ttl)).id(LeaseId::new(*id));
                let call = call.timeout(super::call::PATIENCE);
                self.spawn(number, format!("grant {id}"), async move {
                    let granted = call.await?;
                    Ok(format!("for {:?}", granted.ttl))
                })?;
            }
            Command::Revoke { at, id } => {
                let (store, number) = (self.store(at)?, self.number());
                let call = store.revoke(LeaseId::new(*id)).timeout(super::call::PATIENCE);
                self.spawn(number, format!("revoke {id}"), async move {
                    let revoked = call.await?;
                    Ok(format!("gone, revision {}", revoked.header.revision))
                })?;
            }
            Command::Keep { at, id } => {
                let (store, number) = (self.store(at)?, self.number());
                let call = store.keep_alive(LeaseId::new(*id)).timeout(super::call::PATIENCE);
                self.spawn(number, format!("keep {id}"), async move {
                    Ok(format!("{:?} again", call.await?.ttl))
                })?;
            }
            Command::Left { at, id } => {
                let (store, number) = (self.store(at)?, self.number());
                let call = store.time_to_live(LeaseId::new(*id)).keys();
                let call = call.timeout(super::call::PATIENCE);
                self.spawn(number, format!("left of {id}"), async move {
                    let left = call.await?;
                    let keys: Vec<_> = left.keys.iter().map(|key| key.escape_ascii()).collect();
                    let keys: String = keys.iter().map(|key| format!(" {key}")).collect();
                    Ok(left.remaining.map_or("gone".to_owned(), |left| format!("{left:?}{keys}")))
                })?;
            }
            Command::Open { at, id } => self.open_session(at, *id)?,
            Command::Close(number) => {
                let closed = self.sessions.lock().extract_if(.., |it| it.0 == *number).next();
                let (_, session) = closed.ok_or("no such session")?;
                let (call, number) = (session.close(), self.number());
                self.spawn(number, "close".to_owned(), async move {
                    call.await?;
                    Ok("done")
                })?;
            }
            _ => {
                let told = self.sessions.lock().iter().map(show_session).collect::<Vec<_>>();
                told.into_iter().for_each(|line| self.say(line));
            }
        }
        self.rest()
    }

    fn open_session(&mut self, at: &Place, id: u64) -> Done {
        let (store, number) = (self.store(at)?, self.number());
        let call = store.session(Duration::ZERO).lease(LeaseId::new(id));
        let call = call.timeout(super::call::PATIENCE);
        let sessions = Arc::clone(&self.sessions);
        self.spawn(number, format!("open {id}"), async move {
            let session = call.await?;
            let left = show::span_of(session.remaining());
            sessions.lock().push((number, session));
            Ok(format!("held for {left}"))
        })
    }
}

fn show_session((number, session): &(u64, Session)) -> String {
    let left = session.remaining();
    if session.is_lost() {
        format!("#{number} has lost lease {}", session.lease())
    } else {
        format!("#{number} holds lease {} for {}", session.lease(), show::span_of(left))
    }
}

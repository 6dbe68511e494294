//! Changes a history a little. Whether it is wrong then is another question.

use bytes::Bytes;

use super::{not_applied, rev, unknown};
use crate::ids::Revision;
use crate::sim::dice::Dice;
use crate::sim::history::{Answer, Call, End, History, Kv, Op};

/// Changes one call, or its place in time.
pub(crate) fn spoil(history: &mut History, dice: &mut Dice) {
    match dice.below(10) {
        0 | 1 => move_in_time(history, dice),
        2 => swap_answers(history, dice),
        3 => change_outcome(history, dice),
        _ => change_answer(history, dice),
    }
}

fn near(dice: &mut Dice, number: u64) -> u64 {
    (number + dice.below(5)).saturating_sub(2)
}

fn near_revision(dice: &mut Dice, revision: Revision) -> Revision {
    rev(near(dice, revision.get()))
}

/// Two neighbouring events change their places.
fn move_in_time(history: &mut History, dice: &mut Dice) {
    let mut events: Vec<u64> = Vec::new();
    for call in history.calls_mut().iter() {
        events.push(call.invoked);
        events.extend(call.end.as_ref().map(|end| end.returned));
    }
    events.sort_unstable();
    let at = dice.place(events.len().saturating_sub(1));
    let (Some(&one), Some(&other)) = (events.get(at), events.get(at + 1)) else { return };
    let swap = |event: u64| match event {
        event if event == one => other,
        event if event == other => one,
        event => event,
    };
    let swapped =
        |call: &Call| (swap(call.invoked), call.end.as_ref().map(|end| swap(end.returned)));
    // A call that begins and ends next to each other keeps its order.
    let upside_down = |(begins, ends): (u64, Option<u64>)| ends.is_some_and(|ends| ends < begins);
    if history.calls_mut().iter().map(swapped).any(upside_down) {
        return;
    }
    for call in history.calls_mut() {
        let (invoked, returned) = swapped(call);
        call.invoked = invoked;
        if let (Some(end), Some(returned)) = (&mut call.end, returned) {
            end.returned = returned;
        }
    }
    history.calls_mut().sort_by_key(|call| call.invoked);
}

fn swap_answers(history: &mut History, dice: &mut Dice) {
    let calls = history.calls_mut();
    let ended: Vec<usize> = (0..calls.len()).filter(|place| calls[*place].end.is_some()).collect();
    let (Some(&one), Some(&other)) = (dice.pick(&ended), dice.pick(&ended)) else { return };
    let answer = |call: &Call| call.end.as_ref().map(|end| end.answer.clone()).unwrap();
    let (first, second) = (answer(&calls[one]), answer(&calls[other]));
    calls[one].end.as_mut().unwrap().answer = second;
    calls[other].end.as_mut().unwrap().answer = first;
}

fn change_outcome(history: &mut History, dice: &mut Dice) {
    let calls = history.calls_mut();
    let place = dice.place(calls.len());
    let Some(call) = calls.get_mut(place).filter(|call| call.op.view().is_none()) else { return };
    let Some(End { answer, .. }) = &mut call.end else { return };
    *answer = match answer {
        Answer::Failed { .. } if dice.chance(500_000) => match &call.op {
            Op::Put(_) => Answer::Put { revision: rev(2 + dice.below(6)), prev: None },
            Op::Compact { .. } => Answer::Compacted { revision: rev(2 + dice.below(6)) },
            _ => Answer::Deleted { revision: rev(2 + dice.below(6)), deleted: 1, prev: Vec::new() },
        },
        _ if dice.chance(700_000) => not_applied(),
        _ => unknown(),
    };
}

fn change_answer(history: &mut History, dice: &mut Dice) {
    let calls = history.calls_mut();
    let puts = calls.iter().flat_map(|call| call.op.puts());
    let values: Vec<Bytes> = puts.map(|put| put.value.clone()).collect();
    let ended: Vec<usize> = (0..calls.len()).filter(|place| calls[*place].end.is_some()).collect();
    let Some(&place) = dice.pick(&ended) else { return };
    change(&mut calls[place].end.as_mut().unwrap().answer, &values, dice);
}

fn change(answer: &mut Answer, values: &[Bytes], dice: &mut Dice) {
    let which = dice.below(3);
    match answer {
        Answer::Put { revision, .. }
        | Answer::Got { revision, .. }
        | Answer::Ranged { revision, .. }
        | Answer::Deleted { revision, .. }
        | Answer::Txn { revision, .. }
        | Answer::Compacted { revision }
            if which == 0 =>
        {
            *revision = near_revision(dice, *revision);
        }
        Answer::Put { prev: kv, .. } | Answer::Got { kv, .. } => match kv {
            Some(shown) if which == 1 => change_kv(shown, values, dice),
            Some(_) => *kv = None,
            None => {}
        },
        Answer::Deleted { deleted, prev, .. } => match dice.pick(prev).cloned() {
            Some(_) if which == 1 => {
                let place = dice.place(prev.len());
                change_kv(&mut prev[place], values, dice);
            }
            _ => *deleted = near(dice, *deleted),
        },
        Answer::Ranged { kvs, more, count, .. } => match dice.below(5) {
            0 => *more = !*more,
            1 => *count = near(dice, *count),
            2 if !kvs.is_empty() => {
                kvs.remove(dice.place(kvs.len()));
                *count = count.saturating_sub(1);
            }
            _ if !kvs.is_empty() => {
                let place = dice.place(kvs.len());
                change_kv(&mut kvs[place], values, dice);
            }
            _ => {}
        },
        Answer::Txn { succeeded, responses, .. } => match responses.len() {
            0 => *succeeded = !*succeeded,
            len => change(&mut responses[dice.place(len)], values, dice),
        },
        Answer::Compacted { .. } | Answer::Failed { .. } => {}
    }
}

fn change_kv(kv: &mut Kv, values: &[Bytes], dice: &mut Dice) {
    match dice.below(4) {
        0 => kv.create = near_revision(dice, kv.create),
        1 => kv.modified = near_revision(dice, kv.modified),
        2 => kv.version = near(dice, kv.version),
        _ => kv.value = dice.pick(values).cloned().unwrap_or_default(),
    }
}

//! Runs this crate's own simulation.
fn main() {
    use quorate::sim::{Profile, Run, Seed};
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (a, b): (u64, u64) = (args[0].parse().unwrap(), args[1].parse().unwrap());
    let profile: Profile = args.get(2).map_or(Profile::Swarm, |p| p.parse().unwrap());
    let calls: u64 = args.get(3).map_or(2000, |p| p.parse().unwrap());
    let trace = args.get(4).is_some();
    let t = std::time::Instant::now();
    let (mut total, mut answered, mut ticks, mut events, mut failed) = (0, 0, 0, 0, 0);
    for seed in a..b {
        let mut run = Run::new(Seed::new(seed)).profile(profile).calls(calls);
        if trace {
            run = run.trace();
        }
        let t = std::time::Instant::now();
        match run.run() {
            Ok(r) => {
                total += r.calls;
                answered += r.answered;
                ticks += r.ticks;
                events += r.events;
                if b - a < 50 {
                    println!(
                        "{seed}: {} m {} calls {} ok {} unk span {:?} live {} ev {} hash {:x} {:?} {:?} {:?}",
                        r.members,
                        r.calls,
                        r.answered,
                        r.unknown,
                        r.span,
                        r.live_after,
                        r.events,
                        r.trace_hash,
                        r.faults,
                        r.paths,
                        t.elapsed()
                    );
                }
            }
            Err(f) => {
                failed += 1;
                println!("{f}\n");
                if failed > 5 {
                    break;
                }
            }
        }
    }
    let s = t.elapsed().as_secs_f64();
    println!(
        "{:.1} seeds/s, {total} calls ({answered}), {:.0} calls/s, {:.0} ticks/s, {events} events, failed {failed}, {s:.1} s",
        (b - a) as f64 / s,
        total as f64 / s,
        ticks as f64 / s
    );
}

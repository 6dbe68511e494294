use quorate::*;
use std::time::*;
fn main() {
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let threads: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let dir = std::path::PathBuf::from(format!("/work/scratch/data{n}"));
    let _ = std::fs::remove_dir_all(&dir);
    let names = ["a", "b", "c"];
    let list: Vec<_> = names[..n].iter().map(|x| (x.to_string(), format!("addr-{x}"))).collect();
    let net = LocalNetwork::new();
    let nodes: Vec<Node> = names[..n].iter().map(|x| {
        let c = Config::new(*x, dir.join(x)).initial_cluster(list.clone());
        let node = Node::open(c.clone(), net.endpoint(c.node_id().unwrap())).unwrap();
        net.connect(node.inbox());
        node
    }).collect();
    let s = nodes[0].store();
    let t = Instant::now();
    s.put("a", "b").wait().unwrap();
    println!("first put after {:?}", t.elapsed());
    let leader = nodes.iter().find(|n| n.status().leader == Some(n.id())).unwrap();
    for (what, secs) in [("put", 3), ("lin", 2), ("ser", 2)] {
        let t = Instant::now();
        let counts: Vec<(usize, Vec<u64>)> = std::thread::scope(|sc| {
            let hs: Vec<_> = (0..threads).map(|w| { let s = leader.store(); sc.spawn(move || {
                let mut i = 0; let mut lat = vec![];
                let end = Instant::now() + Duration::from_secs(secs);
                let v = vec![7u8; 256];
                while Instant::now() < end {
                    let k = format!("key-{:026}", (w * 7919 + i * 31) % 100_000);
                    let t = Instant::now();
                    match what {
                        "put" => { s.put(k, v.clone()).wait().unwrap(); }
                        "lin" => { s.get(k).wait().unwrap(); }
                        _ => { s.get(k).serializable().wait().unwrap(); }
                    }
                    lat.push(t.elapsed().as_nanos() as u64);
                    i += 1;
                }
                (i, lat)
            })}).collect();
            hs.into_iter().map(|h| h.join().unwrap()).collect()
        });
        let total: usize = counts.iter().map(|c| c.0).sum();
        let mut all: Vec<u64> = counts.into_iter().flat_map(|c| c.1).collect();
        all.sort();
        println!("{what} {threads} threads: {:.0}/s p50 {} us p99 {} us", total as f64 / t.elapsed().as_secs_f64(), all[all.len()/2]/1000, all[all.len()*99/100]/1000);
    }
    for n in &nodes { println!("{:?}", n.status()); }
    for n in nodes { println!("{:?}", n.close(Duration::from_secs(5))); }
}

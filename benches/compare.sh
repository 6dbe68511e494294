#!/usr/bin/env bash
# The load benchmark and its peers in turn, on the same disk, and a table of both.
#
#   PEER='/path/to/etcd-embed/run.sh' DIR=/path/on/a/real/disk benches/compare.sh
#
# PEER       commands that take the peer's flags (--workloads, --members, --conc ..), separated
#            by ';'. `env ETCD35=ROOT /path/to/run.sh` is one for the newer etcd.
# DIR        where everybody's data goes, one after the other. Not a tmpfs: it would measure nothing.
# OUT        the JSON lines (default: DIR/compare.jsonl, begun anew)
# MEMBERS    default "1 3"
# WORKLOADS  default "put get-ser get-lin get-under-writes range count txn-cas delete"; `load` too,
#            which takes long: a million keys, compaction beside puts; and "watch-same
#            watch-distinct watch-same-paced watch-distinct-paced", "watch-idle" (ours alone)
# CONC       callers, default "1,16,64,256,1024" (put), "1,16,64" (txn-cas) and "1,16,64,256"
#            (get, delete), "1,64" (watch-same, watch-distinct: writers; the peer may have one only)
# WATCHERS   default "1,100,1000"
# STREAMS    streams that the watchers of one key are spread over: each is a peer of its own in the
#            table; default "1 16". The peer reads each watcher with a goroutine of its own; on
#            our side a stream is read by one task, and a row without has a task for each watcher
# SECS WARM  seconds measured and before it, default 5 and 1
# ROUNDS     how often everything is run, default 3
# CALLERS    kinds of callers on our side, default "tasks"; "tasks threads" runs both
# ALONE      cores that others may use while a round begins, default 0.3; it waits for that
set -euo pipefail
: "${PEER:?a command that runs the peer: see the top of this file}"
: "${DIR:?a directory on the disk to measure: see the top of this file}"
HERE=$(cd "$(dirname "$0")" && pwd)
OUT=${OUT:-$DIR/compare.jsonl}
SECS=${SECS:-5} WARM=${WARM:-1} ALONE=${ALONE:-0.3}
mkdir -p "$DIR"
: >"$OUT"

# Built before anything is measured.
(cd "$HERE/.." && cargo build --release --quiet -p quorate-load)
bench=$(cd "$HERE/.." && cargo build --release -p quorate-load --message-format=json 2>/dev/null |
  python3 -c 'import json,sys
for line in sys.stdin:
    built = json.loads(line)
    if built.get("executable") and built["target"]["name"] == "load": print(built["executable"])')
IFS=';' read -ra peers <<<"$PEER"
for peer in "${peers[@]}"; do $peer --build-only; done

# Waits until the rest of the machine is idle: cores used by anybody during a second.
quiet() {
  local a b
  for _ in $(seq 120); do
    a=$(awk '/^cpu /{print $2+$3+$4+$7+$8+$9}' /proc/stat)
    sleep 1
    b=$(awk '/^cpu /{print $2+$3+$4+$7+$8+$9}' /proc/stat)
    if awk "BEGIN{exit !(($b-$a)/100 < $ALONE)}"; then return; fi
  done
  echo "compare: the machine does not come to rest; lines say so in others_cpu" >&2
}

"$bench" disk --dir "$DIR" --seconds "$SECS" --warm "$WARM" | tee -a "$OUT"
for _ in $(seq "${ROUNDS:-3}"); do
  for members in ${MEMBERS:-1 3}; do
    for workload in ${WORKLOADS:-put get-ser get-lin get-under-writes range count txn-cas delete}; do
      case $workload in
        put) conc=${CONC:-1,16,64,256,1024} ;;
        txn-cas) conc=${CONC:-1,16,64} ;;
        watch-*) conc=${CONC:-1,64} ;;
        *) conc=${CONC:-1,16,64,256} ;;
      esac
      more=() streams=1 ours=()
      case $workload in
        watch-same*)
          more=(--watchers "${WATCHERS:-1,100,1000}") streams=${STREAMS:-1 16}
          ours=(--streams "0,${streams// /,}")
          ;;
        watch-distinct*) more=(--watchers "${WATCHERS:-1,100,1000}") ;;
      esac
      for callers in ${CALLERS:-tasks}; do
        quiet
        "$bench" "$workload" --dir "$DIR" --members "$members" --concurrency "$conc" \
          --seconds "$SECS" --warm "$WARM" --callers "$callers" "${more[@]}" "${ours[@]}" |
          tee -a "$OUT"
      done
      if [ "$workload" = watch-idle ]; then continue; fi
      for peer in "${peers[@]}"; do
        for spread in $streams; do
          quiet
          name=
          if [ "$streams" != 1 ]; then name=" on $spread streams"; fi
          $peer --dir "$DIR/peer" --members "$members" --workloads "$workload" --conc "$conc" \
            --rconc "$conc" --secs "$SECS" --warm "$WARM" --watch-streams "$spread" "${more[@]}" |
            sed "s/\"peer\":\"[^\"]*/&$name/" | tee -a "$OUT"
        done
      done
    done
  done
done
python3 "$HERE/compare.py" "$OUT"

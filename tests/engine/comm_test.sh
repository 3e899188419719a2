#!/bin/bash
# Several processes: comm_test.sh BUILD-FOLDER runs its comm_test under mpirun.
set -uo pipefail
folder=$1 failed=0
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
launch() { timeout 60 mpirun --oversubscribe -n "$@"; }

check() { # check NAME COMMAND...
  local name=$1 out
  shift
  if out=$("$@" 2>&1); then echo "ok   $name"; return; fi
  failed=$((failed + 1))
  printf 'FAIL %s\n%s\n' "$name" "$out"
}

# A process that is gone ends those that wait for it, with a bad status, in seconds.
dies() {
  local status=0 begin=$SECONDS
  launch 3 "$folder/comm_test" die || status=$?
  [ $status != 0 ] && [ $status != 124 ] && [ $((SECONDS - begin)) -lt 20 ]
}

for n in 1 2 3 4; do check "$n processes" launch $n "$folder/comm_test"; done
check 'one of three dies' dies
echo "$((5 - failed)) passed, $failed failed"
[ $failed = 0 ]

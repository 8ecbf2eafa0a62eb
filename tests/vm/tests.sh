#!/bin/sh
# Runs the project's own test executables, of the package knock-tests.

# What the test $2 has printed, in the output $1 of its executable.
printed() {
    awk -v begin="---- $2 stdout ----" '$0 == begin { on = 1; next } /^---- / { on = 0 } on && NF' "$1"
}

run_tests() {
    out=/run/tests
    # As `cargo xtask test` does. The options of the harness need the second variable.
    (cd /project/tests && CI=1 RUSTC_BOOTSTRAP=1 "$1" --test-threads 2 >"$out" 2>&1)
    target=$(basename "$1")
    grep '^test result' "$out" || {
        echo "CHECK FAIL test $target: no result: $(tail -n 1 "$out")"
        tail -n 12 "$out" | sed 's/^/LOG /'
    }
    sed -n 's/^test \(.*\) \.\.\. \(ok\|FAILED\|ignored\).*/\2 \1/p' "$out" | while read -r outcome test; do
        case $outcome in
        ok) echo "CHECK ok test $target $test" ;;
        ignored) echo "CHECK skip test $target $test: ignored" ;;
        *)
            echo "CHECK FAIL test $target $test: $(printed "$out" "$test" | grep -A 1 panicked | tail -n 1)"
            printed "$out" "$test" | head -n 20 | sed 's/^/LOG /'
            ;;
        esac
    done
}

# The kernel loads modules with this program, which is elsewhere on other hosts.
echo /bin/modprobe >/proc/sys/kernel/modprobe
for executable in /project/target/debug/deps/*; do
    run_tests "$executable"
done

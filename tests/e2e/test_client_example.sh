# A stranger's first program: the example in quota.h, as it stands there, against the installed form of the library.
. "${QUOTA_TESTLIB_SH:?run through ctest}"

SOURCE=${QUOTAD_SOURCE_DIR:?run through ctest}
LIBRARY=${QUOTAD_BUILD_DIR:?run through ctest}/client/libquota.a

# The example's lines, without the comment's " *".
example() {
    sed -n '/^ \*     #include <quota\/quota.h>/,/^ \*     }$/p' "$SOURCE/client/quota.h" | sed 's/^ \*     //; s/^ \*$//'
}

# Flags that the library itself was built with.
flags=''
if nm "$LIBRARY" 2>/dev/null | grep -q __asan_init; then
    flags='-fsanitize=address,undefined'
elif nm "$LIBRARY" 2>/dev/null | grep -q __gcov_init; then
    flags='--coverage'
fi

mkdir -p "$T/include/quota"
cp "$SOURCE/client/quota.h" "$T/include/quota/quota.h"

I1_example_of_the_header_runs() {
    example | sed "s/127\.0\.0\.1:7070/$QD_GRPC/" >"$T/example.c"
    # shellcheck disable=SC2086 # flags are words
    expect_exit 0 cc -std=c11 -Wall -Wextra -Werror $flags -I"$T/include" "$T/example.c" "$LIBRARY" \
        -lgrpc -lgpr -lprotobuf-c -pthread -o "$T/example"
    expect_exit 0 "$T/example"
    expect_eq "$out$err" ""
    expect_exit 0 "$QUOTACTL_BIN" --address "$QD_GRPC" usage acme -o json
    expect_match "$out" '"output_tokens"'
}

I1_header_is_c_and_cpp() {
    for standard in c11 c17; do
        printf '#include <quota/quota.h>\nint main(void) { return 0; }\n' >"$T/alone.c"
        expect_exit 0 cc -std=$standard -Wall -Wextra -Wpedantic -Werror -I"$T/include" -c "$T/alone.c" -o "$T/alone.o"
    done
    if command -v c++ >/dev/null; then
        cp "$T/alone.c" "$T/alone.cc"
        expect_exit 0 c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -I"$T/include" -c "$T/alone.cc" -o "$T/alone.o"
    fi
}

qd_start --dev || exit 1
qd_run I1_example_of_the_header_runs I1_header_is_c_and_cpp
qd_done

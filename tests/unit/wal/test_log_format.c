/* test_log_format.c - the bytes of the log: golden ones, and what is refused. */
#include "core/crc32c.h"
#include "tests/lib/suite.h"
#include "wal/log_format.h"

static struct log_segment_header a_header(void)
{
    struct log_segment_header h = {
        .number = 3, .salt = 0x1122334455667788u, .first_lsn = 101, .prev_lsn = 100, .size = 65536};
    log_segment_seal(&h);
    return h;
}

START_TEST(a_segment_header_is_these_bytes)
{
    static const unsigned char golden[60] = {'C',  'h',  'r',  'm',  'L', 'o', 'g', '\n', 1, 0, 0,    0,    0,    0x10,
                                             0,    0,    3,    0,    0,   0,   0,   0,    0, 0, 0x88, 0x77, 0x66, 0x55,
                                             0x44, 0x33, 0x22, 0x11, 101, 0,   0,   0,    0, 0, 0,    0,    100};
    unsigned char want[64];
    memcpy(want, golden, sizeof golden);
    want[50] = 1; /* size 65536 at 48 */
    le32_put(want + 60, crc32c_portable(0, want, 60));
    struct log_segment_header h = a_header();
    ck_assert_mem_eq(&h, want, sizeof want);
    ck_ok(log_segment_check(&h, 3, NULL));
}
END_TEST

START_TEST(any_changed_bit_of_a_header_is_damage)
{
    for (size_t bit = 0; bit < 8 * sizeof(struct log_segment_header); bit++) {
        struct log_segment_header h = a_header();
        ((unsigned char *)&h)[bit / 8] ^= (unsigned char)(1u << bit % 8);
        ck_assert_int_eq(log_segment_check(&h, 3, NULL), ERR_CORRUPT);
    }
}
END_TEST

static void seal_as_is(struct log_segment_header *h)
{
    h->crc = crc32c(0, h, offsetof(struct log_segment_header, crc));
}

START_TEST(headers_that_contradict_themselves_are_refused)
{
    struct log_segment_header h = a_header();
    ck_assert_int_eq(log_segment_check(&h, 4, NULL), ERR_CORRUPT); /* renamed */
    h.version = LOG_VERSION + 1;
    seal_as_is(&h);
    ck_assert_int_eq(log_segment_check(&h, 3, NULL), ERR_NEWER);
    h = a_header();
    h.version = 0;
    seal_as_is(&h);
    ck_assert_int_eq(log_segment_check(&h, 3, NULL), ERR_CORRUPT);
    h = a_header();
    h.salt = 0;
    seal_as_is(&h);
    ck_assert_int_eq(log_segment_check(&h, 3, NULL), ERR_CORRUPT);
    h = a_header();
    h.prev_lsn = h.first_lsn;
    seal_as_is(&h);
    ck_assert_int_eq(log_segment_check(&h, 3, NULL), ERR_CORRUPT);
    h = a_header();
    h.size = LOG_BLOCK - 1;
    seal_as_is(&h);
    ck_assert_int_eq(log_segment_check(&h, 3, NULL), ERR_CORRUPT);
}
END_TEST

START_TEST(record_sizes_are_multiples_of_eight)
{
    ck_assert_uint_eq(log_record_bytes(0), 48);
    ck_assert_uint_eq(log_record_bytes(1), 56);
    ck_assert_uint_eq(log_record_bytes(8), 56);
    ck_assert_uint_eq(log_record_bytes(9), 64);
    ck_assert_uint_eq(log_record_bytes(LOG_PAYLOAD_MAX), LOG_PAYLOAD_MAX + 48);
}
END_TEST

START_TEST(the_checksum_covers_payload_then_header)
{
    struct log_record_header h = {.type = 2, .n = 5, .lsn = 7, .durable_lsn = 6, .collection = 9, .salt = 11};
    unsigned char flat[5 + 44];
    memcpy(flat, "hello", 5);
    memcpy(flat + 5, (const char *)&h + 4, 44);
    ck_assert_uint_eq(log_record_crc(&h, crc32c(0, "hello", 5)), crc32c_portable(0, flat, sizeof flat));
}
END_TEST

START_TEST(implausible_records_are_none)
{
    const struct log_record_header data = {.type = 2, .n = 16, .lsn = 7, .durable_lsn = 6, .salt = 11};
    ck_assert(log_record_is_plausible(&data, 11, 64));
    ck_assert(!log_record_is_plausible(&data, 11, 63)); /* R1 */
    ck_assert(!log_record_is_plausible(&data, 12, 64)); /* R2 */
    struct log_record_header h = data;
    h.durable_lsn = 7; /* R4 */
    ck_assert(!log_record_is_plausible(&h, 11, 64));
    h.type = LOG_MARK;
    ck_assert(!log_record_is_plausible(&h, 11, 64));
    h.n = 0;
    ck_assert(log_record_is_plausible(&h, 11, 48));
    h = data;
    h.n = UINT64_MAX;
    ck_assert(!log_record_is_plausible(&h, 11, 64));
    static const struct log_record_header zeros;
    ck_assert(!log_record_is_plausible(&zeros, 11, 64));
}
END_TEST

START_TEST(names_go_both_ways)
{
    static const uint64_t numbers[] = {0, 1, 42, UINT64_C(18446744073709551615)};
    for (size_t i = 0; i < 4; i++)
        for (int spare = 0; spare < 2; spare++) {
            char name[LOG_NAME_MAX];
            uint64_t number = 5;
            bool is_spare = spare == 0;
            log_name_format(name, numbers[i], spare != 0);
            ck_assert(log_name_parse(str_from_c(name), &number, &is_spare));
            ck_assert_uint_eq(number, numbers[i]);
            ck_assert_int_eq(is_spare, spare != 0);
        }
    static const char *const others[] = {"",
                                         ".log",
                                         "1.log",
                                         "00000000000000000001",
                                         "00000000000000000001.lo",
                                         "0000000000000000000a.log",
                                         "18446744073709551616.log",
                                         "00000000000000000001.logs",
                                         "-0000000000000000001.log",
                                         "LOCK"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        uint64_t number;
        bool is_spare;
        ck_assert_msg(!log_name_parse(str_from_c(others[i]), &number, &is_spare), "%s", others[i]);
    }
}
END_TEST

TESTS(log_format, a_segment_header_is_these_bytes, any_changed_bit_of_a_header_is_damage,
      headers_that_contradict_themselves_are_refused, record_sizes_are_multiples_of_eight,
      the_checksum_covers_payload_then_header, implausible_records_are_none, names_go_both_ways)

/* What tests/c.rs calls: makes the knock that the arguments describe, and attacks the interface. Also
 * compiled as C++. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "knock.h"

#define CHECK(condition)                                              \
    do {                                                              \
        if (!(condition)) {                                           \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);   \
            exit(1);                                                  \
        }                                                             \
    } while (0)

static const char KEY[] = "knock2:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
static const char SERVER_KEY[] = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI";

static struct knock_request good(void)
{
    struct knock_request request;
    memset(&request, 0, sizeof request);
    request.key = KEY;
    request.server = "192.0.2.1";
    request.server_key = SERVER_KEY;
    request.door = "ssh";
    return request;
}

static int set(const char *text)
{
    return text[0] != '\0';
}

/* ports KEY SERVER-KEY DOOR SOURCE LEASE UNIX-MS RANDOM BASE
 * datagram KEY SERVER-KEY DOOR SOURCE LEASE UNIX-MS RANDOM */
static int make(char **argv)
{
    struct knock_request request = good();
    char message[512];
    unsigned long long unix_ms = strtoull(argv[7], NULL, 10);
    int status, i;

    request.key = argv[2];
    request.server_key = argv[3];
    request.door = argv[4];
    request.source_ip = set(argv[5]) ? argv[5] : NULL;
    request.lease = (uint32_t)strtoul(argv[6], NULL, 10);
    if (strcmp(argv[1], "ports") == 0) {
        uint16_t ports[KNOCK_PORTS];
        request.base = (uint16_t)strtoul(argv[9], NULL, 10);
        status = knock_ports_at(&request, unix_ms, (uint8_t)strtoul(argv[8], NULL, 10), ports,
                                message, sizeof message);
        for (i = 0; status == KNOCK_OK && i < KNOCK_PORTS; i++)
            printf("%u ", ports[i]);
    } else {
        uint8_t random[KNOCK_RANDOM_LEN], datagram[KNOCK_DATAGRAM_LEN];
        for (i = 0; i < KNOCK_RANDOM_LEN; i++) {
            unsigned byte;
            CHECK(sscanf(argv[8] + 2 * i, "%2x", &byte) == 1);
            random[i] = (uint8_t)byte;
        }
        status = knock_datagram_at(&request, unix_ms, random, datagram, message, sizeof message);
        for (i = 0; status == KNOCK_OK && i < KNOCK_DATAGRAM_LEN; i++)
            printf("%02x", datagram[i]);
    }
    if (status != KNOCK_OK)
        fprintf(stderr, "%s\n", message);
    return status;
}

static void expect_invalid(const struct knock_request *request, const char *member)
{
    char message[256];
    uint16_t ports[KNOCK_PORTS] = {7};
    CHECK(knock_ports(request, ports, message, sizeof message) == KNOCK_INVALID);
    CHECK(strncmp(message, member, strlen(member)) == 0 && message[strlen(member)] == ':');
    CHECK(ports[0] == 7);
    CHECK(strstr(message, "AAECAwQF") == NULL);
    CHECK(knock_send(request, message, sizeof message) == KNOCK_INVALID);
}

static void attack_strings(void)
{
    static char endless[1 << 20];
    struct knock_request request;

    expect_invalid(NULL, "request");
    expect_invalid((const struct knock_request *)(const void *)((const char *)&request + 1), "request");
    request = good();
    request.door = NULL;
    expect_invalid(&request, "door");
    request = good();
    request.key = NULL;
    expect_invalid(&request, "key");
    request = good();
    request.transport = 3;
    expect_invalid(&request, "transport");

    memset(endless, 'a', sizeof endless);
    request = good();
    request.invitation = endless;
    expect_invalid(&request, "invitation");
    request = good();
    request.door = "\xff\xfe";
    expect_invalid(&request, "door");
    request = good();
    request.server = "\x1b[2J";
    expect_invalid(&request, "server");
    /* A secret in the wrong place. */
    request = good();
    request.server = KEY;
    expect_invalid(&request, "server");
    request = good();
    request.source_ip = KEY;
    expect_invalid(&request, "source_ip");
}

static void attack_buffers(void)
{
    struct knock_request request = good();
    uint16_t ports[KNOCK_PORTS];
    uint8_t datagram[KNOCK_DATAGRAM_LEN];
    char message[4] = {9, 9, 9, 9};

    CHECK(knock_ports(&request, NULL, NULL, 0) == KNOCK_INVALID);
    CHECK(knock_ports(&request, (uint16_t *)(void *)((char *)ports + 1), NULL, 0) == KNOCK_INVALID);
    CHECK(knock_datagram(&request, NULL, NULL, 100) == KNOCK_INVALID);
    CHECK(knock_datagram_at(&request, 0, NULL, datagram, NULL, 0) == KNOCK_INVALID);
    CHECK(knock_ports(&request, ports, message, 0) == KNOCK_OK && message[0] == 9);
    CHECK(knock_ports(NULL, ports, message, 2) == KNOCK_INVALID);
    CHECK(message[0] == 'r' && message[1] == '\0' && message[2] == 9);
    CHECK(knock_ports(&request, ports, message, (size_t)-1) == KNOCK_OK && message[0] == '\0');

    request.lease = 100000;
    CHECK(knock_ports(&request, ports, NULL, 0) == KNOCK_NOT_MADE);
    CHECK(knock_datagram(&request, datagram, NULL, 0) == KNOCK_OK);
}

#define THREADS 4
#define EACH 16
static uint16_t made[THREADS * EACH][KNOCK_PORTS];

static void *make_some(void *from)
{
    struct knock_request request = good();
    int i;
    for (i = 0; i < EACH; i++)
        CHECK(knock_ports(&request, ((uint16_t(*)[KNOCK_PORTS])from)[i], NULL, 0) == KNOCK_OK);
    return NULL;
}

static void attack_threads(void)
{
    pthread_t threads[THREADS];
    int i, j;
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, make_some, made[i * EACH]) == 0);
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (i = 0; i < THREADS * EACH; i++)
        for (j = 0; j < i; j++)
            CHECK(memcmp(made[i], made[j], sizeof made[i]) != 0);
}

/* A child of a process whose threads use the library can use it too. */
static void attack_fork(void)
{
    int i, status;
    for (i = 0; i < 8; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            make_some(made[0]);
            _exit(0);
        }
        make_some(made[0]);
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

int main(int argc, char **argv)
{
    if (argc > 8)
        return make(argv);
    CHECK(knock_abi_version() == 1);
    attack_strings();
    attack_buffers();
    attack_threads();
    attack_fork();
    return 0;
}

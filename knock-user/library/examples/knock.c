/* Knocks on a door: knock INVITATION-FILE DOOR */
#include <stdio.h>
#include <string.h>

#include "knock.h"

int main(int argc, char **argv)
{
    char invitation[2048] = "";
    char message[256];
    struct knock_request request = {0};
    FILE *file;
    int status;

    if (argc != 3) {
        fprintf(stderr, "usage: %s INVITATION-FILE DOOR\n", argv[0]);
        return 2;
    }
    file = fopen(argv[1], "r");
    if (file == NULL || fgets(invitation, sizeof invitation, file) == NULL) {
        perror(argv[1]);
        return 1;
    }
    fclose(file);

    request.invitation = invitation;
    request.door = argv[2];
    request.transport = KNOCK_UDP;
    status = knock_send(&request, message, sizeof message);
    memset(invitation, 0, sizeof invitation);
    if (status != KNOCK_OK) {
        fprintf(stderr, "%s: %s\n", argv[0], message);
        return 1;
    }
    puts("knocked: try the door now");
    return 0;
}

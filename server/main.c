/* main.c - the program. Everything it does is in the library, so that tests can do it too. */
#include "server/cli.h"

#include <unistd.h>

int main(int argc, char **argv)
{
    return cli_main(argc, argv, environ);
}

#include <stdio.h>

int main(void)
{
    puts("hello from a build that anybody can repeat");
    return 0;
}

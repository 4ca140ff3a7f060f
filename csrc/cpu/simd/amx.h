#pragma once

#include "floats512.h"
#include "pairs512_bf16.h"
#include "quads512_vnni.h"
#include "tiles.h"

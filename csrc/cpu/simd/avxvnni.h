#pragma once

#include "floats256.h"
#include "quads256_vnni.h"
